//! Envoy's local replies: on the internal listener, in the format that the gateway stage parses; on
//! the listener for applications, the one kind that the filter can't rewrite itself.

use serde_json::{Value, json};

/// Builds the local replies for attempts. If the provider stage did not run, because its VM failed,
/// the reply still asks for the next candidate.
pub fn internal() -> Value {
    json!({
        "mappers": [
            own(),
            retried(of_envoy(500)),
            of_envoy(100),
        ],
        "body_format": {"json_format": {"error": {
            "message": "The provider could not be called (%RESPONSE_CODE_DETAILS%)",
            "type": "api_error",
            "param": null,
            "code": "upstream_unavailable",
        }}},
    })
}

/// Builds the local reply for an answer that broke off while the filter held its beginning. Envoy
/// leads it past the filters, to the client.
pub fn edge() -> Value {
    json!({
        "mappers": [{
            "filter": {"and_filter": {"filters": [
                {"response_flag_filter": {"flags": ["UC", "UR", "LR", "UPE"]}},
                {"header_filter": {"header": {
                    "name": "x-opentracy-reply",
                    "present_match": true,
                    "invert_match": true,
                }}},
            ]}},
            "body_format_override": {"json_format": {"error": {
                "message": "The provider closed the connection before it answered",
                "type": "api_error",
                "param": null,
                "code": "upstream_unavailable",
            }}},
        }],
    })
}

/// Passes the stage's own replies through; they already have the right format.
fn own() -> Value {
    json!({
        "filter": {"header_filter": {"header": {"name": "x-opentracy-reply", "present_match": true}}},
        "body_format_override": {
            "text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"},
            "content_type": "application/json",
        },
    })
}

/// Marks local replies with at least this status, so that the filter can tell them from a
/// provider's responses.
fn of_envoy(least_status: u16) -> Value {
    json!({
        "filter": {"status_code_filter": {"comparison": {
            "op": "GE",
            "value": {"default_value": least_status, "runtime_key": "opentracy.reply_status"},
        }}},
        "headers_to_add": [{"header": {
            "key": "x-opentracy-local-reply",
            "value": "%RESPONSE_CODE_DETAILS%",
        }}],
    })
}

fn retried(mut mapper: Value) -> Value {
    if let Some(headers) = mapper["headers_to_add"].as_array_mut() {
        headers.push(json!({"header": {"key": "x-opentracy-retry", "value": "1"}}));
    }
    mapper
}
