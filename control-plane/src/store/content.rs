//! Recorded bodies: made readable, and searchable.

use opentracy_proto::v1;
use opentracy_translate::client::Api;
use serde_json::Value;

/// A request's body. One that was cut is no JSON any more, and is kept as a text.
pub fn request(body: &[u8]) -> Option<Value> {
    (!body.is_empty()).then(|| json_or_text(body))
}

/// The API that a trace is of.
pub fn api_of(wire: v1::Api) -> Api {
    match wire {
        v1::Api::ChatCompletions => Api::ChatCompletions,
        v1::Api::Messages => Api::Messages,
        v1::Api::Responses => Api::Responses,
    }
}

/// An answer: a stream is put together to the body it stands for.
pub fn response(api: Api, body: &[u8]) -> Option<Value> {
    if body.is_empty() {
        return None;
    }
    if body.trim_ascii_start().first() == Some(&b'{') {
        return Some(json_or_text(body));
    }
    Some(api.aggregate(body))
}

fn json_or_text(body: &[u8]) -> Value {
    serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}

/// The words of a conversation, for the search.
pub fn searchable_text(request: Option<&Value>, response: Option<&Value>) -> String {
    let mut text = String::new();
    for (body, members) in [
        (request, ["messages", "system", "input", "instructions"]),
        (response, ["choices", "content", "output", "refusal"]),
    ] {
        for value in members.iter().filter_map(|name| body?.get(name)) {
            match value {
                Value::String(words) => {
                    text.push_str(words);
                    text.push('\n');
                }
                value => collect(value, &mut text),
            }
        }
    }
    for value in [request, response].into_iter().flatten() {
        if let Value::String(cut) = value {
            text.push_str(cut);
        }
    }
    text
}

fn collect(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, text)),
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    // Of what a message holds, these are words; the rest is the protocol's, or an image.
                    Value::String(words)
                        if matches!(
                            name.as_str(),
                            "content"
                                | "text"
                                | "refusal"
                                | "arguments"
                                | "name"
                                | "reasoning_content"
                                | "thinking"
                                | "output"
                        ) =>
                    {
                        text.push_str(words);
                        text.push('\n');
                    }
                    other => collect(other, text),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words_are_found_and_images_are_not() {
        let request = json!({"messages": [{"role": "user", "content": [
            {"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {"url": "data:xyz"}}]}]});
        let response = json!({"choices": [{"message": {"content": "a cat"}}]});
        assert_eq!(
            searchable_text(Some(&request), Some(&response)),
            "what is this?\na cat\n"
        );
    }
}
