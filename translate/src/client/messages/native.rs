//! Prepares a Messages request for a provider of the Messages API: only the model's name and
//! reasoning that isn't Anthropic's are changed.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::anthropic::platform::{Platform, VERTEX_VERSION};
use crate::body;
use crate::client::thoughts;
use crate::error::ApiError;
use crate::object::Object;

/// Builds the request; everything that needs no change stays as the client wrote it.
pub fn prepare_request(body: &str, model: &str, platform: Platform) -> Result<Vec<u8>, ApiError> {
    let mut request: Object<'_> = body::parse(body.as_bytes())?;
    match platform {
        Platform::Anthropic => request.set("model", model),
        Platform::Vertex => {
            request.remove("model");
            request.set("anthropic_version", VERTEX_VERSION);
        }
    }
    if body.contains(thoughts::MARK) || body.contains("\"signature\"") {
        drop_foreign_thoughts(&mut request)?;
    }
    Ok(request.to_vec())
}

/// Drops reasoning that Anthropic did not sign, because Anthropic rejects it. A conversation that
/// was with another provider before is full of it.
fn drop_foreign_thoughts(request: &mut Object<'_>) -> Result<(), ApiError> {
    let Some(messages) = request.get("messages").map(ToOwned::to_owned) else {
        return Ok(());
    };
    let wrong = |error| ApiError::invalid("messages", format!("`messages`: {error}"));
    let mut turns: Vec<Object<'_>> = serde_json::from_str(messages.get()).map_err(wrong)?;
    let mut has_changed = false;
    for turn in &mut turns {
        let Some(content) = turn
            .get("content")
            .filter(|content| content.get().starts_with('['))
            .map(ToOwned::to_owned)
        else {
            continue;
        };
        let blocks: Vec<&RawValue> = serde_json::from_str(content.get()).map_err(wrong)?;
        let own: Vec<&RawValue> = blocks
            .iter()
            .copied()
            .filter(|block| !is_foreign_thought(block))
            .collect();
        if own.len() < blocks.len() {
            has_changed = true;
            turn.set("content", &own);
        }
    }
    if has_changed {
        turns.retain(|turn| {
            turn.get("content")
                .is_none_or(|content| content.get() != "[]")
        });
        request.set("messages", &turns);
    }
    Ok(())
}

fn is_foreign_thought(block: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Thought {
        r#type: String,
        #[serde(default)]
        signature: Option<String>,
        #[serde(default)]
        data: Option<String>,
    }
    let Ok(thought) = serde_json::from_str::<Thought>(block.get()) else {
        return false;
    };
    match thought.r#type.as_str() {
        "thinking" => thought
            .signature
            .is_none_or(|signature| signature.is_empty() || signature.starts_with(thoughts::MARK)),
        "redacted_thinking" => thought
            .data
            .is_some_and(|data| data.starts_with(thoughts::MARK)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_model_and_foreign_thoughts_change() {
        let body = r#"{"model":"anthropic/claude-x","max_tokens":1e2,"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":""},{"type":"redacted_thinking","data":"opentracy:e30="},{"type":"thinking","thinking":"b","signature":"EqQB"},{"type":"text","text":"c"}]}]}"#;
        assert_eq!(
            String::from_utf8(prepare_request(body, "claude-x", Platform::Anthropic).unwrap())
                .unwrap(),
            r#"{"model":"claude-x","max_tokens":1e2,"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"b","signature":"EqQB"},{"type":"text","text":"c"}]}]}"#
        );
        let vertex =
            prepare_request(r#"{"model":"m","messages":[]}"#, "m", Platform::Vertex).unwrap();
        assert_eq!(
            vertex,
            br#"{"messages":[],"anthropic_version":"vertex-2023-10-16"}"#
        );
    }
}
