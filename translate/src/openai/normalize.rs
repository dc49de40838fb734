//! Rewrites answers of providers whose format differs from OpenAI's in a few fields.
//!
//! Mistral's reasoning models answer with a list of reasoning and text parts, and Z.ai has finish
//! reasons of its own.

use crate::json;
use std::borrow::Cow;

use serde::Deserialize;

use crate::error::ApiError;
use crate::needle::Needle;
use crate::object::Object;

/// Finish reasons that have another name in OpenAI's format. Source: Z.ai's API reference, November
/// 2026.
static FINISH_REASONS: [(Needle, &str); 2] = [
    (Needle::new("sensitive"), "content_filter"),
    (Needle::new("model_context_window_exceeded"), "length"),
];
/// A failure, not a finish reason: the answer is incomplete.
static NETWORK_ERROR: Needle = Needle::new("network_error");
/// Beginnings of a content that is a list.
static LISTS: [Needle; 2] = [Needle::new("\"content\":["), Needle::new("\"content\": [")];

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    thinking: Option<Vec<Part<'a>>>,
}

/// Rewrites a body or an event's data into OpenAI's format; `None` if it already is.
pub fn normalize(data: &[u8]) -> Result<Option<Vec<u8>>, ApiError> {
    let has_list = LISTS.iter().any(|list| list.is_in(data));
    let has_word = FINISH_REASONS.iter().any(|(own, _)| own.is_in(data));
    if !has_list && !has_word && !NETWORK_ERROR.is_in(data) {
        return Ok(None);
    }
    rewrite(data).map_err(ApiError::unreadable)?
}

fn rewrite(data: &[u8]) -> serde_json::Result<Result<Option<Vec<u8>>, ApiError>> {
    let mut answer: Object<'_> = json::from_bytes(data)?;
    let Some(choices) = answer.get("choices").map(ToOwned::to_owned) else {
        return Ok(Ok(None));
    };
    let mut choices: Vec<Object<'_>> = serde_json::from_str(choices.get())?;
    for choice in &mut choices {
        let reason = choice
            .get("finish_reason")
            .map(|raw| raw.get().trim_matches('"').to_owned());
        if let Some(reason) = reason {
            if reason == NETWORK_ERROR.text() {
                let error = ApiError::new(502, "The model's answer was interrupted: network_error");
                return Ok(Err(error.with_code(NETWORK_ERROR.text())));
            }
            if let Some((_, word)) = FINISH_REASONS.iter().find(|(own, _)| own.text() == reason) {
                choice.set("finish_reason", word);
            }
        }
        for name in ["message", "delta"] {
            let Some(message) = choice.get(name).map(ToOwned::to_owned) else {
                continue;
            };
            let mut message = Object::parse(message.get())?;
            if flatten(&mut message)? {
                choice.set(name, &message);
            }
        }
    }
    answer.set("choices", &choices);
    Ok(Ok(Some(answer.to_vec())))
}

/// Splits content parts into reasoning and text; returns whether it did.
fn flatten(message: &mut Object<'_>) -> serde_json::Result<bool> {
    let Some(content) = message
        .get("content")
        .filter(|raw| raw.get().starts_with('['))
        .map(ToOwned::to_owned)
    else {
        return Ok(false);
    };
    let parts: Vec<Part<'_>> = serde_json::from_str(content.get())?;
    let texts = |parts: &[Part<'_>]| -> String {
        parts
            .iter()
            .filter_map(|part| part.text.as_deref())
            .collect()
    };
    let thoughts: String = parts
        .iter()
        .filter_map(|part| part.thinking.as_deref())
        .map(texts)
        .collect();
    message.set("content", &texts(&parts));
    if !thoughts.is_empty() {
        message.set("reasoning_content", &thoughts);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(data: &str) -> Option<String> {
        normalize(data.as_bytes())
            .unwrap()
            .map(|data| String::from_utf8(data).unwrap())
    }

    #[test]
    fn thoughts_and_texts_go_where_clients_look_for_them() {
        assert_eq!(
            normalized(r#"{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text","text":"Hm."}]},{"type":"text","text":"Hi"},{"type":"text","text":"!"}]},"finish_reason":"stop"}]}"#).unwrap(),
            r#"{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"Hi!","reasoning_content":"Hm."},"finish_reason":"stop"}]}"#
        );
        assert_eq!(
            normalized(r#"{"choices":[{"delta":{"content":"Hi"}}]}"#),
            None
        );
    }

    #[test]
    fn finish_reasons_get_openais_words() {
        assert_eq!(
            normalized(r#"{"choices":[{"finish_reason":"sensitive"}]}"#).unwrap(),
            r#"{"choices":[{"finish_reason":"content_filter"}]}"#
        );
        assert_eq!(
            normalize(br#"{"choices":[{"finish_reason":"network_error"}]}"#)
                .unwrap_err()
                .status,
            502
        );
        assert_eq!(
            normalized(
                r#"{"choices":[{"delta":{"content":"a sensitive word"},"finish_reason":null}]}"#
            )
            .unwrap(),
            r#"{"choices":[{"delta":{"content":"a sensitive word"},"finish_reason":null}]}"#
        );
    }
}
