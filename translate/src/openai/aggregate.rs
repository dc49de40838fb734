//! Assembles the chunks of a stream into the answer they make up.

use crate::json;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::sse;

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    model: Value,
    #[serde(default)]
    created: Value,
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Value,
    #[serde(default)]
    error: Value,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    #[serde(default)]
    delta: Delta,
    #[serde(default)]
    finish_reason: Value,
}

#[derive(Deserialize, Default)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    reasoning_content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<ToolCallDelta>>,
}

#[derive(Deserialize)]
struct ToolCallDelta {
    #[serde(default)]
    index: u64,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<FunctionDelta>,
}

#[derive(Deserialize, Default)]
struct FunctionDelta {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    arguments: Option<String>,
}

#[derive(Default)]
struct Message {
    content: Option<String>,
    reasoning_content: Option<String>,
    refusal: Option<String>,
    tool_calls: BTreeMap<u64, (String, FunctionDelta)>,
    finish_reason: Value,
}

/// Builds the body of a chat completion from a stream's bytes. Missing fields stay absent.
pub fn from_sse(stream: &[u8]) -> Value {
    let mut answer = json!({"object": "chat.completion"});
    let mut messages: BTreeMap<u64, Message> = BTreeMap::new();
    let mut parser = sse::Parser::default();
    let mut take = |event: sse::SseEvent<'_>| {
        let Some(data) = event.data() else { return };
        let Ok(chunk) = json::from_bytes::<Chunk>(&data) else {
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
    fn add(&mut self, choice: Choice) {
        append(&mut self.content, choice.delta.content);
        append(&mut self.reasoning_content, choice.delta.reasoning_content);
        append(&mut self.refusal, choice.delta.refusal);
        for call in choice.delta.tool_calls.unwrap_or_default() {
            let (id, function) = self.tool_calls.entry(call.index).or_default();
            if let Some(new) = call.id {
                *id = new;
            }
            if let Some(new) = call.function {
                append(&mut function.name, new.name);
                append(&mut function.arguments, new.arguments);
            }
        }
        if !choice.finish_reason.is_null() {
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
        if !self.tool_calls.is_empty() {
            let calls = self
                .tool_calls
                .into_values()
                .map(|(id, function)| {
                    json!({"id": id, "type": "function", "function": {
                        "name": function.name.unwrap_or_default(),
                        "arguments": function.arguments.unwrap_or_default(),
                    }})
                })
                .collect();
            message.insert("tool_calls".to_owned(), Value::Array(calls));
        }
        json!({"index": index, "message": message, "finish_reason": self.finish_reason})
    }
}

fn append(text: &mut Option<String>, more: Option<String>) {
    match (text.as_mut(), more) {
        (Some(text), Some(more)) => text.push_str(&more),
        (None, Some(more)) => *text = Some(more),
        (_, None) => {}
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
