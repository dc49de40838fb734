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
                "There is nothing at %REQ(:PATH)%; the gateway serves OpenAI's endpoints below /v1, providers' own below /proxy/PROVIDER, and GET /health",
                "not_found_error",
                "unknown_url",
            ),
            of_status(503, "The gateway can't serve the request now (%RESPONSE_CODE_DETAILS%). Try again", "overloaded_error", "unavailable"),
            of_status(504, "The gateway gave up waiting (%RESPONSE_CODE_DETAILS%)", "timeout_error", "timeout"),
            of_envoy(100, "GE", Some(body("The gateway refused the request (%RESPONSE_CODE_DETAILS%)", "invalid_request_error", "refused"))),
        ],
    })
}

/// Replies where an attempt comes in. One that the provider stage had no part in, because its VM failed, still asks for
/// the next candidate.
pub fn internal() -> Value {
    json!({
        "mappers": [
            own(),
            retried(of_envoy(500, "GE", None)),
            of_envoy(100, "GE", None),
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
    of_envoy(status, "EQ", Some(body(message, kind, code)))
}

/// Replies whose status compares so. They are marked, so that the filter need not ask who made a response.
fn of_envoy(status: u16, comparison: &str, body: Option<Value>) -> Value {
    let mut mapper = json!({
        "filter": {"status_code_filter": {"comparison": {
            "op": comparison,
            "value": {"default_value": status, "runtime_key": "opentracy.reply_status"},
        }}},
        "headers_to_add": [{"header": {"key": "x-opentracy-local-reply", "value": "1"}}],
    });
    if let (Some(body), Some(members)) = (body, mapper.as_object_mut()) {
        members.insert("body_format_override".to_owned(), body);
    }
    mapper
}

fn retried(mut mapper: Value) -> Value {
    if let Some(headers) = mapper["headers_to_add"].as_array_mut() {
        headers.push(json!({"header": {"key": "x-opentracy-retry", "value": "1"}}));
    }
    mapper
}

fn body(message: &str, kind: &str, code: &str) -> Value {
    json!({"json_format": {"error": {"message": message, "type": kind, "param": null, "code": code}}})
}
