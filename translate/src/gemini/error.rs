//! Gemini's errors: `{"error": {"code", "message", "status", "details"}}`.

use crate::json;
use serde::Deserialize;

use crate::error::ApiError;
use crate::openai;

#[derive(Debug, Clone, Deserialize)]
pub(super) struct ErrorBody {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    details: Vec<Detail>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Detail {
    reason: String,
    /// Delay of a `RetryInfo`, such as `7.5s`.
    retry_delay: String,
}

impl ErrorBody {
    pub(super) fn told_as(&self, provider: &str, status: u16) -> ApiError {
        // Google reports an invalid key as INVALID_ARGUMENT.
        let is_key = self
            .details
            .iter()
            .any(|detail| detail.reason == "API_KEY_INVALID");
        let status = if is_key { 401 } else { status };
        let error = ApiError {
            retry_after: self.retry_after(),
            ..ApiError::from_provider(provider, status, &self.message)
        };
        match self.status.as_str() {
            _ if is_key => error.with_code("invalid_api_key"),
            "" => error,
            "RESOURCE_EXHAUSTED" => error.with_code("rate_limit_exceeded"),
            "NOT_FOUND" => error.with_code("model_not_found"),
            "UNAUTHENTICATED" => error.with_code("invalid_api_key"),
            other => error.with_code(other.to_ascii_lowercase()),
        }
    }

    /// Returns whole seconds, rounded up.
    fn retry_after(&self) -> Option<u64> {
        let delay = self
            .details
            .iter()
            .find_map(|detail| detail.retry_delay.strip_suffix('s'))?;
        let seconds: f64 = delay.parse().ok()?;
        Some(seconds.max(0.0).ceil() as u64)
    }

    /// Returns the HTTP status of this error, for errors that come in a stream.
    pub(super) fn http_status(&self) -> u16 {
        if (400..600).contains(&self.code) {
            self.code
        } else {
            502
        }
    }
}

/// Translates an error response. In a stream it is a list with one error.
pub fn from_reply(provider: &str, status: u16, body: &[u8]) -> ApiError {
    #[derive(Deserialize)]
    struct Reply {
        error: ErrorBody,
    }
    // Serde would accept a list as the fields of an object, so the list is tried first.
    let reply = json::from_bytes::<Vec<Reply>>(body)
        .ok()
        .and_then(|replies| replies.into_iter().next())
        .or_else(|| json::from_bytes::<Reply>(body).ok());
    match reply {
        Some(reply) => reply.error.told_as(provider, status),
        // A proxy in between answers in a format of its own.
        None => openai::error::from_reply(provider, status, body),
    }
}
