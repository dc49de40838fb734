//! Assembles Anthropic's events into the message they make up.

use crate::json;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::client::events::each_data;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Event {
    r#type: String,
    index: usize,
    message: Value,
    content_block: Value,
    delta: Value,
    usage: Value,
    error: Value,
}

/// Builds the body of a message from a stream's bytes. Missing fields stay absent.
pub fn from_sse(stream: &[u8]) -> Value {
    let mut message = json!({"type": "message"});
    let mut blocks: Vec<Block> = Vec::new();
    each_data(stream, |data| {
        let Ok(event) = json::from_bytes::<Event>(data) else {
            return;
        };
        match event.r#type.as_str() {
            "message_start" => merge(&mut message, &event.message),
            "content_block_start" => blocks.push(Block::new(&event.content_block)),
            "content_block_delta" => {
                if let Some(block) = blocks.get_mut(event.index) {
                    block.add(&event.delta);
                }
            }
            "message_delta" => {
                merge(&mut message, &event.delta);
                if let Some(usage) = message.get_mut("usage") {
                    merge(usage, &event.usage);
                }
            }
            "error" => merge(&mut message, &json!({"error": event.error})),
            _ => {}
        }
    });
    let content = blocks.into_iter().map(Block::finish).collect();
    merge(&mut message, &json!({"content": Value::Array(content)}));
    message
}

struct Block {
    members: Map<String, Value>,
    input: String,
}

impl Block {
    fn new(block: &Value) -> Self {
        Self {
            members: block.as_object().cloned().unwrap_or_default(),
            input: String::new(),
        }
    }

    fn add(&mut self, delta: &Value) {
        let said = |name: &str| delta.get(name).and_then(Value::as_str);
        for name in ["text", "thinking", "signature"] {
            if let Some(more) = said(name) {
                let known = self.members.get(name).and_then(Value::as_str);
                let text = format!("{}{more}", known.unwrap_or_default());
                self.members.insert(name.to_owned(), text.into());
            }
        }
        self.input
            .push_str(said("partial_json").unwrap_or_default());
    }

    fn finish(mut self) -> Value {
        if !self.input.is_empty() {
            let input = serde_json::from_str(&self.input).unwrap_or(Value::String(self.input));
            self.members.insert("input".to_owned(), input);
        }
        Value::Object(self.members)
    }
}

fn merge(into: &mut Value, from: &Value) {
    if let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) {
        for (name, value) in from {
            into.insert(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_make_a_message() {
        let stream = br#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","role":"assistant","content":[],"usage":{"input_tokens":3,"output_tokens":1}}}

data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}

data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}

data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a\":1}"}}

data: {"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9}}

"#;
        assert_eq!(
            from_sse(stream),
            json!({"type":"message","id":"msg_1","role":"assistant","stop_reason":"tool_use","usage":{"input_tokens":3,"output_tokens":9},
                "content":[{"type":"text","text":"Hi"},{"type":"tool_use","id":"t","name":"f","input":{"a":1}}]})
        );
    }
}
