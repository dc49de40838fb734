//! Puts the events of a response together to the response they make.

use serde_json::{Value, json};

use crate::client::each_data;

/// Makes the body of a response out of a stream's bytes. The last event has all of it; of a stream that broke off, the items that were
/// done and the text of the one under way are what there is.
pub fn from_sse(stream: &[u8]) -> Value {
    let mut response = json!({"object": "response"});
    let mut items: Vec<Value> = Vec::new();
    let mut open = String::new();
    let mut is_whole = false;
    each_data(stream, |data| {
        let Ok(event) = serde_json::from_slice::<Value>(data) else {
            return;
        };
        match event["type"].as_str() {
            Some("response.output_item.done") => {
                items.push(event["item"].clone());
                open.clear();
            }
            Some("response.output_text.delta") => {
                open.push_str(event["delta"].as_str().unwrap_or_default());
            }
            Some("error") => response["error"] = event["error"].clone(),
            Some(kind) if kind.starts_with("response.") && event["response"].is_object() => {
                response = event["response"].clone();
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
        response["output"] = items.into();
    }
    response
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
