//! Translates a chat completion into a response.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::client::answer::{Choice, Completion};
use crate::client::responses::REASONING_ID;
use crate::client::thoughts;
use crate::cost::Usage;
use crate::error::ApiError;
use crate::json as text;
use crate::openai::usage::WireUsage;

/// Ids of a response and its items, derived from one id, so that the same answer always has the
/// same ids.
#[derive(Debug, Default, Clone)]
pub(super) struct Ids(String);

impl Ids {
    pub fn of(id: &str) -> Self {
        let plain = ["chatcmpl-", "msg_", "resp_"]
            .into_iter()
            .find_map(|prefix| id.strip_prefix(prefix));
        Self(plain.unwrap_or(id).to_owned())
    }

    pub fn response(&self) -> String {
        format!("resp_{}", self.0)
    }

    pub fn item(&self, kind: Kind, index: usize) -> String {
        let prefix = match kind {
            Kind::Reasoning => REASONING_ID,
            Kind::Message => "msg_",
            Kind::FunctionCall => "fc_",
        };
        format!("{prefix}{}_{index}", self.0)
    }
}

/// The kind of an output item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Reasoning,
    Message,
    FunctionCall,
}

/// Members of a request that are repeated in its response. The last three are required there.
const ECHOED: [(&str, Option<&str>); 12] = [
    ("instructions", None),
    ("max_output_tokens", None),
    ("metadata", None),
    ("reasoning", None),
    ("service_tier", None),
    ("temperature", None),
    ("text", None),
    ("top_p", None),
    ("user", None),
    ("tools", Some("[]")),
    ("tool_choice", Some("\"auto\"")),
    ("parallel_tool_calls", Some("true")),
];

/// Returns the members of a response that don't depend on the answer.
pub(super) fn frame(request: &[u8]) -> Map<String, Value> {
    let asked: Map<String, Value> = text::from_bytes(request).unwrap_or_default();
    let mut frame = Map::new();
    for (name, default) in ECHOED {
        let value = asked
            .get(name)
            .filter(|value| !value.is_null())
            .cloned()
            .or_else(|| serde_json::from_str(default?).ok());
        frame.insert(name.to_owned(), value.unwrap_or(Value::Null));
    }
    frame.insert("object".to_owned(), "response".into());
    frame.insert("error".to_owned(), Value::Null);
    frame.insert("store".to_owned(), false.into());
    frame
}

/// Returns the status of an answer, and the reason if it is incomplete.
pub(super) fn status(finish_reason: Option<&str>) -> (&'static str, Value) {
    match finish_reason {
        Some("length") => ("incomplete", json!({"reason": "max_output_tokens"})),
        Some("content_filter") => ("incomplete", json!({"reason": "content_filter"})),
        _ => ("completed", Value::Null),
    }
}

pub(super) fn usage(wire: WireUsage) -> Value {
    let usage = Usage::from(wire);
    json!({
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input.saturating_add(usage.output),
    })
}

pub(super) fn reasoning_item(id: &str, text: &str, sealed: Option<&str>) -> Value {
    let summary = if text.is_empty() {
        json!([])
    } else {
        json!([{"type": "summary_text", "text": text}])
    };
    let mut item = json!({"id": id, "type": "reasoning", "summary": summary});
    if let (Some(sealed), Some(members)) = (sealed, item.as_object_mut()) {
        members.insert("encrypted_content".to_owned(), sealed.into());
    }
    item
}

pub(super) fn message_item(id: &str, status: &str, content: Vec<Value>) -> Value {
    json!({"id": id, "type": "message", "role": "assistant", "status": status, "content": content})
}

pub(super) fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

pub(super) fn refusal_part(text: &str) -> Value {
    json!({"type": "refusal", "refusal": text})
}

pub(super) fn call_item(id: &str, status: &str, call: &str, name: &str, arguments: &str) -> Value {
    json!({
        "id": id, "type": "function_call", "status": status,
        "call_id": call, "name": name, "arguments": arguments,
    })
}

/// Translates a body; `request` is the client's.
pub fn translate_response(body: &[u8], request: &[u8]) -> Result<Vec<u8>, ApiError> {
    let completion = Completion::parse(body)?;
    let choice = completion.choice()?;
    let ids = Ids::of(completion.id.as_deref().unwrap_or_default());
    let (status, incomplete) = status(choice.finish_reason.as_deref());
    let mut response = frame(request);
    for (name, value) in [
        ("id", ids.response().into()),
        ("created_at", completion.created.unwrap_or_default().into()),
        (
            "model",
            completion.model.as_deref().unwrap_or_default().into(),
        ),
        ("status", status.into()),
        ("incomplete_details", incomplete),
        ("output", output(choice, &ids, &completion.seed()).into()),
        ("usage", usage(completion.usage.unwrap_or_default())),
    ] {
        response.insert(name.to_owned(), value);
    }
    let mut out = Vec::with_capacity(body.len() + 1024);
    text::write(&mut out, &response);
    Ok(out)
}

/// Translates a choice. `answer` is the text from which missing ids of calls are derived.
fn output(choice: &Choice<'_>, ids: &Ids, answer: &str) -> Vec<Value> {
    let message = &choice.message;
    let calls = message.tool_calls.as_deref().unwrap_or_default();
    let mut output = Vec::new();
    let sealed = calls
        .iter()
        .find_map(|call| call.extra_content)
        .map(thoughts::seal);
    let reasoning = message.thoughts().unwrap_or_default();
    if !reasoning.is_empty() || sealed.is_some() {
        let id = ids.item(Kind::Reasoning, output.len());
        output.push(reasoning_item(&id, reasoning, sealed.as_deref()));
    }
    let said = |text: &Option<Cow<'_, str>>| {
        text.as_deref()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let parts: Vec<Value> = said(&message.content)
        .iter()
        .map(|text| text_part(text))
        .chain(said(&message.refusal).iter().map(|text| refusal_part(text)))
        .collect();
    if !parts.is_empty() || calls.is_empty() {
        let id = ids.item(Kind::Message, output.len());
        output.push(message_item(&id, "completed", parts));
    }
    for (number, call) in calls.iter().enumerate() {
        let id = ids.item(Kind::FunctionCall, output.len());
        let function = &call.function;
        output.push(call_item(
            &id,
            "completed",
            &call.id_in(answer, number),
            &function.name,
            &function.arguments(),
        ));
    }
    output
}
