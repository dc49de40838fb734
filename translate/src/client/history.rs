//! Tells in words what a conversation's former provider did with tools of its own, for a provider
//! that does not know them.

use serde_json::Value;
use serde_json::value::RawValue;

/// Members that say something to a model. All others are ids, encrypted or binary.
const READABLE: [&str; 17] = [
    "code",
    "command",
    "content",
    "error",
    "error_code",
    "logs",
    "output",
    "outputs",
    "queries",
    "query",
    "results",
    "stderr",
    "stdout",
    "text",
    "title",
    "tool_name",
    "url",
];

/// Tells a call of a tool that the provider ran itself.
pub(super) fn called(name: &str, input: &str) -> String {
    format!("(Called {name} with {input}.)")
}

/// Tells the result of such a call.
pub(super) fn result(words: &str) -> String {
    match words.trim() {
        "" => "(It has a result.)".to_owned(),
        words => format!("(The result: {words})"),
    }
}

/// Tells the summary that stands for earlier turns.
pub(super) fn summary(words: &str) -> String {
    match words.trim() {
        "" => "(Earlier turns were left out.)".to_owned(),
        words => format!("(A summary of the earlier turns: {words})"),
    }
}

/// Returns the texts in a value, one a line.
pub(super) fn words(raw: Option<&RawValue>) -> String {
    let value = raw.and_then(|raw| serde_json::from_str(raw.get()).ok());
    let mut lines = Vec::new();
    collect(&value.unwrap_or_default(), &mut lines);
    lines.join("\n")
}

fn collect(value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::String(text) => lines.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, lines)),
        Value::Object(members) => {
            for (_, value) in members
                .iter()
                .filter(|(name, _)| READABLE.contains(&name.as_str()))
            {
                collect(value, lines);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
