//! Envoy's own replies, in OpenAI's shape.

use serde_json::{Value, json};

/// Replies on the edge: what Envoy says when it can't or won't pass a request on.
pub fn edge(max_body_bytes: u32) -> Value {
    json!({
        "mappers": [
            own(),
            of_status(
                413,
                &format!("The request is over the limit of {max_body_bytes} bytes; send less, or raise `gateway.max_body_bytes`"),
                "invalid_request_error",
                "request_too_large",
            ),
            of_status(
                404,
                "There is nothing at %REQ(:PATH)%; the gateway serves POST /v1/chat/completions, GET /v1/models and GET /health",
                "not_found_error",
                "unknown_url",
            ),
            of_status(503, "The gateway can't serve the request now (%RESPONSE_CODE_DETAILS%). Try again", "overloaded_error", "unavailable"),
            of_status(504, "The gateway gave up waiting (%RESPONSE_CODE_DETAILS%)", "timeout_error", "timeout"),
        ],
        "body_format": body("The gateway refused the request (%RESPONSE_CODE_DETAILS%)", "invalid_request_error", "refused"),
    })
}

/// Replies where an attempt comes in. One that the provider stage had no part in, because its VM failed, still asks for
/// the next candidate.
pub fn internal() -> Value {
    json!({
        "mappers": [
            own(),
            {
                "filter": {"status_code_filter": {"comparison": {
                    "op": "GE",
                    "value": {"default_value": 500, "runtime_key": "opentracy.reply_status"},
                }}},
                "headers_to_add": [{"header": {"key": "x-opentracy-retry", "value": "1"}}],
            },
        ],
        "body_format": body("The provider could not be called (%RESPONSE_CODE_DETAILS%)", "api_error", "upstream_unavailable"),
    })
}

/// The stages' replies are in shape already.
fn own() -> Value {
    json!({
        "filter": {"header_filter": {"header": {"name": "x-opentracy-reply", "present_match": true}}},
        "body_format_override": {
            "text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"},
            "content_type": "application/json",
        },
    })
}

fn of_status(status: u16, message: &str, kind: &str, code: &str) -> Value {
    json!({
        "filter": {"status_code_filter": {"comparison": {
            "op": "EQ",
            "value": {"default_value": status, "runtime_key": "opentracy.reply_status"},
        }}},
        "body_format_override": body(message, kind, code),
    })
}

fn body(message: &str, kind: &str, code: &str) -> Value {
    json!({"json_format": {"error": {"message": message, "type": kind, "param": null, "code": code}}})
}
