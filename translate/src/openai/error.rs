//! Errors of providers that use OpenAI's format, or a close relative.

use crate::json;
use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use crate::error::ApiError;
use crate::needle::Needle;

static ERROR: Needle = Needle::new("\"error\"");
static BASE_RESP: Needle = Needle::new("\"base_resp\"");

/// The contents of a provider's error, from any of the known shapes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Details {
    pub message: String,
    pub code: Option<String>,
    pub param: Option<String>,
}

/// Parses an error body: OpenAI's shape, the flat shapes of its relatives, HTML from a proxy, or
/// nothing at all.
pub fn read(body: &[u8]) -> Details {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Flat {
        error: Value,
        message: Value,
        detail: Value,
        code: Value,
    }
    let Ok(flat) = json::from_bytes::<Flat>(body) else {
        return Details::default();
    };
    let nested = &flat.error;
    let message = [
        nested.get("message").and_then(Value::as_str),
        nested.as_str(),
        flat.message.as_str(),
        flat.detail.as_str(),
    ]
    .into_iter()
    .flatten()
    .next()
    .map(Cow::Borrowed)
    .or_else(|| (!flat.detail.is_null()).then(|| flat.detail.to_string().into()))
    .or_else(|| (!flat.message.is_null()).then(|| flat.message.to_string().into()));
    let word = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    Details {
        message: message.unwrap_or_default().into_owned(),
        code: nested
            .get("code")
            .and_then(word)
            .or_else(|| word(&flat.code)),
        param: nested.get("param").and_then(word),
    }
}

/// Translates a provider's error response.
pub fn from_reply(provider: &str, status: u16, body: &[u8]) -> ApiError {
    let details = read(body);
    ApiError {
        code: details.code.map(Cow::Owned),
        param: details.param,
        ..ApiError::from_provider(provider, status, &details.message)
    }
}

/// MiniMax's errors, which have status 200. Source: its API reference, "Error codes", November
/// 2026.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct BaseResponse {
    pub status_code: i64,
    status_msg: String,
}

impl BaseResponse {
    fn told_as(&self, provider: &str) -> ApiError {
        let status = match self.status_code {
            1001 => 504,
            1002 | 1039 => 429,
            1004 | 2049 => 401,
            1008 => 402,
            1026 | 1027 | 1042 | 2013 => 400,
            _ => 502,
        };
        ApiError::from_provider(provider, status, &self.status_msg)
            .with_code(self.status_code.to_string())
    }
}

/// Returns the error in a body with a success status, which some providers send.
pub fn in_answer(provider: &str, body: &[u8]) -> Option<ApiError> {
    (ERROR.is_in(body) || BASE_RESP.is_in(body))
        .then(|| from_event(provider, body))
        .flatten()
}

/// Returns the error in a stream's event, if it is one. Its status is the one it contains, else
/// 502.
pub fn from_event(provider: &str, data: &[u8]) -> Option<ApiError> {
    #[derive(Deserialize)]
    struct Event {
        error: Option<Value>,
        base_resp: Option<BaseResponse>,
    }
    let event = json::from_bytes::<Event>(data).ok()?;
    if let Some(base) = event.base_resp.filter(|base| base.status_code != 0) {
        return Some(base.told_as(provider));
    }
    let error = event.error?;
    if error.is_null() {
        return None;
    }
    let named = ["status", "status_code", "code"]
        .into_iter()
        .find_map(|field| match error.get(field)? {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        })
        .and_then(|status| u16::try_from(status).ok())
        .filter(|status| (400..600).contains(status));
    let status = named.unwrap_or_else(|| match error.get("type").and_then(Value::as_str) {
        Some("rate_limit_error" | "rate_limit_exceeded") => 429,
        Some("overloaded_error") => 529,
        Some("invalid_request_error") => 400,
        _ => 502,
    });
    Some(from_reply(provider, status, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_found_in_every_shape() {
        for (body, message) in [
            (r#"{"error":{"message":"m","type":"t","code":"c"}}"#, "m"),
            (r#"{"error":"m"}"#, "m"),
            (r#"{"message":"m"}"#, "m"),
            (r#"{"detail":"m"}"#, "m"),
            (r#"{"detail":[{"loc":1}]}"#, r#"[{"loc":1}]"#),
            (
                r#"{"object":"error","message":{"detail":[]}}"#,
                r#"{"detail":[]}"#,
            ),
            ("<html>Bad gateway</html>", ""),
            ("", ""),
        ] {
            assert_eq!(read(body.as_bytes()).message, message, "{body}");
        }
    }

    #[test]
    fn an_error_event_is_told_from_a_chunk() {
        assert_eq!(from_event("x", br#"{"id":"1","choices":[]}"#), None);
        assert_eq!(from_event("x", br#"{"error":null,"choices":[]}"#), None);
        let error = from_event("x", br#"{"error":{"code":429,"message":"slow down"}}"#).unwrap();
        assert_eq!((error.status, error.message.as_str()), (429, "slow down"));
        let error = from_event(
            "minimax",
            br#"{"id":"1","choices":null,"base_resp":{"status_code":1002,"status_msg":"rate limit"}}"#,
        )
        .unwrap();
        assert_eq!((error.status, error.message.as_str()), (429, "rate limit"));
        let good = br#"{"choices":[],"base_resp":{"status_code":0,"status_msg":""}}"#;
        assert_eq!(from_event("minimax", good), None);
        let error = from_event(
            "x",
            br#"{"error":{"message":"boom","type":"server_error"}}"#,
        )
        .unwrap();
        assert_eq!(error.status, 502);
    }
}
