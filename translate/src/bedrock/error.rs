//! Bedrock's errors: `{"message"}`, with the kind in the status, a header, or the type of an
//! exception in a stream.

use crate::json;
use std::borrow::Cow;

use serde::Deserialize;

use crate::error::ApiError;
use crate::openai;

#[derive(Deserialize)]
struct Body {
    // Some of its services capitalize the name.
    #[serde(alias = "Message")]
    message: String,
}

/// Translates an error response.
pub fn from_reply(provider: &str, status: u16, body: &[u8]) -> ApiError {
    match json::from_bytes::<Body>(body) {
        Ok(body) => told(provider, status, &body.message),
        // A proxy in between answers in a format of its own.
        Err(_) => openai::error::from_reply(provider, status, body),
    }
}

/// Translates an exception in a stream by its type, such as `throttlingException`.
pub(super) fn from_exception(provider: &str, kind: &str, payload: &[u8]) -> ApiError {
    let status = match kind {
        "validationException" => 400,
        "throttlingException" => 429,
        "serviceUnavailableException" => 503,
        "modelTimeoutException" => 408,
        "modelStreamErrorException" => 424,
        _ => 500,
    };
    let message = json::from_bytes::<Body>(payload).map(|body| body.message);
    told(provider, status, message.as_deref().unwrap_or(kind))
}

fn told(provider: &str, status: u16, message: &str) -> ApiError {
    // Bedrock returns 403 both for invalid signatures or tokens and for missing permissions.
    let is_about_credentials = status == 403
        && ["security token", "signature", "credential", "API key"]
            .iter()
            .any(|word| message.contains(word));
    let is_too_long = status == 400
        && ["too long", "too many tokens", "maximum context"]
            .iter()
            .any(|word| message.contains(word));
    let (status, code): (u16, Option<Cow<'static, str>>) = match status {
        403 if is_about_credentials => (401, Some("invalid_api_key".into())),
        400 if is_too_long => (400, Some("context_length_exceeded".into())),
        404 => (404, Some("model_not_found".into())),
        // A failure of the model, not of the client.
        424 => (502, Some("model_error".into())),
        429 => (429, Some("rate_limit_exceeded".into())),
        other => (other, None),
    };
    let error = ApiError::from_provider(provider, status, message);
    match code {
        Some(code) => error.with_code(code),
        None => error,
    }
}
