//! Errors in the shape that Anthropic's clients expect, with OpenAI's members in addition.

use serde::Serialize;

use crate::error::{ApiError, AttemptSummary, ErrorType};

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    error: Members<'a>,
}

#[derive(Serialize)]
struct Members<'a> {
    r#type: &'static str,
    message: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    attempts: &'a [AttemptSummary],
}

/// Serializes the body of an error response.
pub fn to_json(error: &ApiError, attempts: &[AttemptSummary]) -> Vec<u8> {
    let body = Body {
        r#type: "error",
        error: Members {
            r#type: match error.kind {
                ErrorType::InvalidRequest if error.status == 413 => "request_too_large",
                // The other types have the same name.
                kind => kind.as_str(),
            },
            message: &error.message,
            param: error.param.as_deref(),
            code: error.code.as_deref(),
            attempts,
        },
    };
    serde_json::to_vec(&body).unwrap_or_default()
}

/// Returns the last event of a stream that has begun.
pub fn to_sse(error: &ApiError) -> Vec<u8> {
    let mut event = b"event: error\ndata: ".to_vec();
    event.extend(to_json(error, &[]));
    event.extend_from_slice(b"\n\n");
    event
}
