//! Errors in OpenAI's shape, which every client of the gateway receives.

use std::borrow::Cow;

use serde::Serialize;

use crate::attempt_error::AttemptError;
use crate::redact::redactor::mask_keys;

/// The kind of an error: OpenAI's `error.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorType {
    InvalidRequest,
    Authentication,
    Permission,
    NotFound,
    RateLimit,
    InsufficientQuota,
    Timeout,
    Overloaded,
    Api,
}

impl ErrorType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request_error",
            Self::Authentication => "authentication_error",
            Self::Permission => "permission_error",
            Self::NotFound => "not_found_error",
            Self::RateLimit => "rate_limit_error",
            Self::InsufficientQuota => "insufficient_quota",
            Self::Timeout => "timeout_error",
            Self::Overloaded => "overloaded_error",
            Self::Api => "api_error",
        }
    }

    /// Returns the kind that an HTTP status maps to.
    pub const fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Authentication,
            403 => Self::Permission,
            404 => Self::NotFound,
            408 | 504 => Self::Timeout,
            429 => Self::RateLimit,
            503 | 529 => Self::Overloaded,
            400..500 => Self::InvalidRequest,
            _ => Self::Api,
        }
    }
}

const UNSUPPORTED: &str = "unsupported_parameter";

/// An error for the client: an HTTP status and OpenAI's `{"error": {...}}`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status} {}: {message}", kind.as_str())]
pub struct ApiError {
    pub status: u16,
    pub kind: ErrorType,
    pub code: Option<Cow<'static, str>>,
    pub message: String,
    /// Field of the request that caused the error, such as `messages[0].content`.
    pub param: Option<String>,
    /// Seconds to wait, if the provider's body has them.
    pub retry_after: Option<u64>,
}

/// One attempt at one provider, as reported to the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct AttemptSummary {
    pub provider: String,
    pub model: String,
    /// The provider's status; `None` if it didn't answer, or if it is unknown.
    pub status: Option<u16>,
    /// Kind of failure; `None` for the attempt that succeeded.
    pub error: Option<AttemptError>,
    /// Milliseconds; `None` if unknown.
    pub latency_ms: Option<u64>,
    /// Seconds to wait, if the provider sent them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl ApiError {
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            kind: ErrorType::of_status(status),
            code: None,
            message: message.into(),
            param: None,
            retry_after: None,
        }
    }

    /// Returns a 400 that names the invalid field.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            param: Some(param.into()),
            ..Self::new(400, message)
        }
    }

    /// Returns a 400 for a field that the model's provider does not support.
    pub fn unsupported(param: impl Into<String>, model: &str, why: &str) -> Self {
        let param = param.into();
        Self {
            code: Some(UNSUPPORTED.into()),
            ..Self::invalid(
                param.clone(),
                format!("`{param}` can't be sent to {model}: {why}"),
            )
        }
    }

    /// Returns a 429 that retrying doesn't fix, like OpenAI's for an account without credit.
    pub fn insufficient_quota(message: impl Into<String>) -> Self {
        let kind = ErrorType::InsufficientQuota;
        Self {
            kind,
            code: Some(kind.as_str().into()),
            ..Self::new(429, message)
        }
    }

    /// Returns true if the model's provider does not support a field of the request.
    pub fn is_unsupported(&self) -> bool {
        self.code.as_deref() == Some(UNSUPPORTED)
    }

    /// Returns the error for a stream that ended before it was complete.
    pub fn incomplete_stream(provider: &str) -> Self {
        let message = format!("{provider}'s stream ended before its answer was complete");
        Self::new(502, message).with_code("incomplete_stream")
    }

    /// Returns the error for an answer that doesn't match its format.
    pub fn unreadable(error: serde_json::Error) -> Self {
        let message = format!("The provider's answer could not be read: {error}");
        Self::new(502, message).with_code("invalid_upstream_response")
    }

    /// Returns the error for a provider's answer that doesn't match its API.
    pub fn unreadable_answer(provider: &str) -> Self {
        let message = format!("{provider} sent an answer that does not match its API");
        Self::new(502, message).with_code("invalid_upstream_response")
    }

    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Returns a provider's error in the client's shape: with the provider's own message, and a
    /// status that OpenAI's clients understand.
    ///
    /// Text that looks like a key is masked here. The credentials of the request itself are masked
    /// by a [`KeyMask`](crate::redact::KeyMask), which knows them.
    pub fn from_provider(provider: &str, status: u16, message: &str) -> Self {
        let message = mask_keys(message);
        let message = match (status, message.trim()) {
            (401, "") => format!("{provider} refused the gateway's API key"),
            (401, own) => format!("{provider} refused the gateway's API key: {own}"),
            (_, "") => format!("{provider} answered with status {status}"),
            _ => message.into_owned(),
        };
        // 529 is Anthropic's "overloaded"; OpenAI's clients expect 503.
        Self::new(if status == 529 { 503 } else { status }, message)
    }

    /// Serializes the body of an error response.
    pub fn to_json(&self) -> Vec<u8> {
        self.to_json_with_attempts(&[])
    }

    /// Serializes the body of an error response that lists the attempts, in `error.attempts`.
    pub fn to_json_with_attempts(&self, attempts: &[AttemptSummary]) -> Vec<u8> {
        #[derive(Serialize)]
        struct Body<'a> {
            error: Error<'a>,
        }
        #[derive(Serialize)]
        struct Error<'a> {
            message: &'a str,
            r#type: &'static str,
            param: Option<&'a str>,
            code: Option<&'a str>,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            attempts: &'a [AttemptSummary],
        }
        let body = Body {
            error: Error {
                message: &self.message,
                r#type: self.kind.as_str(),
                param: self.param.as_deref(),
                code: self.code.as_deref(),
                attempts,
            },
        };
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// Returns the error as the last event of a stream that has already begun.
    pub fn to_sse(&self) -> Vec<u8> {
        let mut event = b"data: ".to_vec();
        event.extend(self.to_json());
        event.extend(b"\n\n");
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_openais_shape() {
        let error = ApiError::invalid("model", "`model` is missing").with_code("missing");
        assert_eq!(
            String::from_utf8(error.to_json()).unwrap(),
            r#"{"error":{"message":"`model` is missing","type":"invalid_request_error","param":"model","code":"missing"}}"#
        );
    }

    #[test]
    fn a_key_quoted_by_a_provider_is_not_passed_on() {
        let error = ApiError::from_provider("openai", 401, "Incorrect API key provided: sk-abc123");
        assert_eq!(
            error.message,
            "openai refused the gateway's API key: Incorrect API key provided: [SECRET]"
        );
        let error = ApiError::from_provider(
            "openai",
            403,
            "Key sk-proj-abcdefghijklmnop1234567890 lacks scope",
        );
        assert!(!error.message.contains("abcdefgh"), "{}", error.message);
        assert!(error.message.contains("lacks scope"), "{}", error.message);
    }

    #[test]
    fn an_overloaded_anthropic_is_a_503_to_an_openai_client() {
        let error = ApiError::from_provider("anthropic", 529, "Overloaded");
        assert_eq!((error.status, error.kind), (503, ErrorType::Overloaded));
    }
}
