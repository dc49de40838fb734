//! Assembles the events of a response into the response they make up.

use crate::json;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::client::events::each_data;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Event {
    r#type: String,
    item: Value,
    delta: String,
    response: Map<String, Value>,
    error: Value,
}

/// Builds the body of a response from a stream's bytes. The last event contains all of it; for a
/// stream that broke off, the result is the completed items and the text of the current one.
pub fn from_sse(stream: &[u8]) -> Value {
    let mut response = Map::new();
    let mut items: Vec<Value> = Vec::new();
    let mut open = String::new();
    let mut is_whole = false;
    each_data(stream, |data| {
        let Ok(event) = json::from_bytes::<Event>(data) else {
            return;
        };
        match event.r#type.as_str() {
            "response.output_item.done" => {
                items.push(event.item);
                open.clear();
            }
            "response.output_text.delta" => open.push_str(&event.delta),
            "error" => {
                response.insert("error".to_owned(), event.error);
            }
            kind if !event.response.is_empty() => {
                response = event.response;
                is_whole = matches!(
                    kind,
                    "response.completed" | "response.incomplete" | "response.failed"
                );
            }
            _ => {}
        }
    });
    if !is_whole {
        if !open.is_empty() {
            items.push(
                json!({"type": "message", "role": "assistant", "status": "incomplete",
                "content": [{"type": "output_text", "text": open}]}),
            );
        }
        response.insert("output".to_owned(), items.into());
    }
    response.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_broke_off_keeps_what_it_said() {
        let stream = br#"data: {"type":"response.created","response":{"id":"r","output":[]}}

data: {"type":"response.output_text.delta","delta":"Hel"}

data: {"type":"response.output_text.delta","delta":"lo"}

"#;
        let response = from_sse(stream);
        assert_eq!(response["id"], "r");
        assert_eq!(response["output"][0]["content"][0]["text"], "Hello");
    }
}
