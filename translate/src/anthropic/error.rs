//! Anthropic's errors: `{"type": "error", "error": {"type", "message"}, "request_id"}`.

use crate::json;
use serde::Deserialize;

use crate::error::ApiError;
use crate::openai;

#[derive(Deserialize)]
pub(super) struct ErrorBody {
    #[serde(default)]
    pub r#type: String,
    #[serde(default)]
    pub message: String,
}

impl ErrorBody {
    /// Returns the HTTP status of this error, for errors that come in a stream.
    pub(super) fn status(&self) -> u16 {
        match self.r#type.as_str() {
            "invalid_request_error" => 400,
            "authentication_error" => 401,
            "billing_error" => 402,
            "permission_error" => 403,
            "not_found_error" => 404,
            "request_too_large" => 413,
            "rate_limit_error" => 429,
            "timeout_error" => 504,
            "overloaded_error" => 529,
            _ => 500,
        }
    }
}

/// Translates an error response.
pub fn from_reply(provider: &str, status: u16, body: &[u8]) -> ApiError {
    #[derive(Deserialize)]
    struct Reply {
        error: ErrorBody,
    }
    match json::from_bytes::<Reply>(body) {
        Ok(reply) => {
            let error = ApiError::from_provider(provider, status, &reply.error.message);
            match reply.error.r#type.as_str() {
                "" => error,
                kind => error.with_code(code(kind).to_owned()),
            }
        }
        // A proxy in between answers in a format of its own.
        Err(_) => openai::error::from_reply(provider, status, body),
    }
}

pub(super) fn from_event(provider: &str, error: &ErrorBody) -> ApiError {
    ApiError::from_provider(provider, error.status(), &error.message)
        .with_code(code(&error.r#type).to_owned())
}

/// Translates the data of an `error` event.
pub(crate) fn from_event_data(provider: &str, data: &[u8]) -> ApiError {
    #[derive(Deserialize)]
    struct Event {
        error: ErrorBody,
    }
    match json::from_bytes::<Event>(data) {
        Ok(event) => from_event(provider, &event.error),
        Err(_) => ApiError::from_provider(provider, 502, ""),
    }
}

/// Maps Anthropic's error type to OpenAI's code, if there is one.
fn code(kind: &str) -> &str {
    match kind {
        "rate_limit_error" => "rate_limit_exceeded",
        "not_found_error" => "model_not_found",
        "authentication_error" => "invalid_api_key",
        "billing_error" => "insufficient_quota",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reply_is_told_in_openais_words() {
        let body = br#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-x"},"request_id":"req_1"}"#;
        let error = from_reply("anthropic", 404, body);
        assert_eq!(error.message, "model: claude-x");
        assert_eq!(error.code.as_deref(), Some("model_not_found"));
        assert_eq!(error.kind.as_str(), "not_found_error");
    }

    #[test]
    fn a_page_of_a_proxy_is_not_passed_on() {
        let error = from_reply("anthropic", 502, b"<html>Bad gateway</html>");
        assert_eq!(error.message, "anthropic answered with status 502");
    }
}
