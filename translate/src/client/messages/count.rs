//! An estimate for `POST /v1/messages/count_tokens`, if the provider can't count the tokens.

use crate::json;
use serde_json::Value;

/// Path of the endpoint, at the gateway and at Anthropic.
pub const PATH: &str = "/v1/messages/count_tokens";

/// Approximate bytes per token of English text.
const BYTES_PER_TOKEN: usize = 4;
/// Tokens of an image of typical size.
const TOKENS_PER_IMAGE: usize = 1600;
/// Overhead of a message or a tool.
const TOKENS_PER_ITEM: usize = 4;

/// Estimates a request's tokens from the length of its texts. Each non-ASCII character counts as
/// one token.
pub fn estimate(body: &[u8]) -> u64 {
    let Ok(request) = json::from_bytes::<Value>(body) else {
        return 0;
    };
    let tokens: usize = ["system", "messages", "tools"]
        .into_iter()
        .filter_map(|field| request.get(field))
        .map(tokens_of)
        .sum();
    tokens.max(1) as u64
}

/// Returns the response body.
pub fn to_json(tokens: u64) -> Vec<u8> {
    format!("{{\"input_tokens\":{tokens}}}").into_bytes()
}

fn tokens_of(value: &Value) -> usize {
    match value {
        Value::String(text) => {
            let foreign = text.chars().filter(|c| !c.is_ascii()).count();
            let ascii = text.bytes().filter(u8::is_ascii).count();
            foreign + ascii.div_ceil(BYTES_PER_TOKEN)
        }
        Value::Array(items) => items.iter().map(tokens_of).sum(),
        Value::Object(members) => match members.get("type").and_then(Value::as_str) {
            Some("image") => TOKENS_PER_IMAGE,
            _ => {
                TOKENS_PER_ITEM
                    + members
                        .iter()
                        .filter(|(name, _)| {
                            !matches!(name.as_str(), "type" | "cache_control" | "signature")
                        })
                        .map(|(_, value)| tokens_of(value))
                        .sum::<usize>()
            }
        },
        Value::Number(_) | Value::Bool(_) => 1,
        Value::Null => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_requests_have_more_tokens() {
        let short = estimate(br#"{"messages":[{"role":"user","content":"Hello"}]}"#);
        let long = estimate(br#"{"system":"Be brief.","messages":[{"role":"user","content":"Hello, how are you today?"}]}"#);
        assert!(short > 0 && long > short + 5, "{short} {long}");
        assert_eq!(estimate(b"no json"), 0);
    }
}
