//! Assembles the chunks of a stream into the answer they make up.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::client::answer::Delta;
use crate::client::calls::Calls;
use crate::json;
use crate::lenient;
use crate::sse;

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    model: Value,
    #[serde(default)]
    created: Value,
    #[serde(default, borrow, deserialize_with = "lenient::list")]
    choices: Vec<Choice<'a>>,
    #[serde(default)]
    usage: Value,
    #[serde(default)]
    error: Value,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default, deserialize_with = "lenient::count_or_zero")]
    index: u64,
    #[serde(default, borrow)]
    delta: Option<Delta<'a>>,
    #[serde(default)]
    finish_reason: Value,
}

#[derive(Default)]
struct Message {
    content: Option<String>,
    reasoning_content: Option<String>,
    refusal: Option<String>,
    calls: Calls,
    finish_reason: Value,
}

/// Builds the body of a chat completion from a stream's bytes. Missing fields stay absent.
pub fn from_sse(stream: &[u8]) -> Value {
    let mut answer = json!({"object": "chat.completion"});
    let mut messages: BTreeMap<u64, Message> = BTreeMap::new();
    let mut parser = sse::Parser::default();
    let mut take = |event: sse::SseEvent<'_>| {
        let Some(data) = event.data() else { return };
        let Ok(chunk) = json::from_bytes::<Chunk<'_>>(&data) else {
            return;
        };
        for (name, value) in [
            ("id", chunk.id),
            ("model", chunk.model),
            ("created", chunk.created),
            ("usage", chunk.usage),
            ("error", chunk.error),
        ] {
            if !value.is_null()
                && let Some(members) = answer.as_object_mut()
            {
                members.insert(name.to_owned(), value);
            }
        }
        for choice in chunk.choices {
            messages.entry(choice.index).or_default().add(choice);
        }
    };
    // A recorded stream has been parsed before, so errors don't matter here.
    let _ = parser.push(stream, &mut take);
    let rest = parser.take_rest();
    take(sse::SseEvent { raw: &rest });
    let choices = messages
        .into_iter()
        .map(|(index, message)| message.into_choice(index))
        .collect();
    if let Some(members) = answer.as_object_mut() {
        members.insert("choices".to_owned(), Value::Array(choices));
    }
    answer
}

impl Message {
    fn add(&mut self, choice: Choice<'_>) {
        if let Some(delta) = &choice.delta {
            append(&mut self.content, delta.content.as_deref());
            append(&mut self.reasoning_content, delta.thoughts());
            append(&mut self.refusal, delta.refusal.as_deref());
            let pieces = delta.tool_calls.as_deref().unwrap_or_default();
            for (place, piece) in pieces.iter().enumerate() {
                self.calls.add(piece, (pieces.len() > 1).then_some(place));
            }
        }
        if !choice.finish_reason.is_null() && choice.finish_reason != "" {
            self.finish_reason = choice.finish_reason;
        }
    }

    fn into_choice(self, index: u64) -> Value {
        let mut message = Map::new();
        message.insert("role".to_owned(), "assistant".into());
        message.insert("content".to_owned(), self.content.into());
        for (name, text) in [
            ("reasoning_content", self.reasoning_content),
            ("refusal", self.refusal),
        ] {
            if let Some(text) = text {
                message.insert(name.to_owned(), text.into());
            }
        }
        if !self.calls.is_empty() {
            let calls = self
                .calls
                .iter()
                .map(|call| {
                    json!({"id": call.id, "type": "function", "function": {
                        "name": call.name, "arguments": call.arguments,
                    }})
                })
                .collect();
            message.insert("tool_calls".to_owned(), Value::Array(calls));
        }
        json!({"index": index, "message": message, "finish_reason": self.finish_reason})
    }
}

/// Appends a piece of text, a JSON string.
fn append(text: &mut Option<String>, more: Option<&RawValue>) {
    if let Some(more) = more.and_then(|raw| json::text(raw).ok()) {
        text.get_or_insert_default().push_str(&more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_make_an_answer() {
        let stream = r#"data: {"id":"1","model":"m","created":7,"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}

data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c1","function":{"name":"f","arguments":""}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":1}}

data: [DONE]

"#;
        assert_eq!(
            from_sse(stream.as_bytes()),
            json!({"object":"chat.completion","id":"1","model":"m","created":7,"usage":{"prompt_tokens":1},
                "choices":[{"index":0,"finish_reason":"tool_calls","message":{"role":"assistant","content":"Hi",
                    "tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]}}]})
        );
    }
}
