//! Errors in the middle of a response stream.

use serde_json::json;

use crate::client::events::write_event;
use crate::error::ApiError;

/// Returns the last event of a stream that has begun. The error's members are both at the top
/// level, as in the API reference, and in `error`, as in its SDKs.
pub fn to_sse(error: &ApiError, sequence: u64) -> Vec<u8> {
    let (code, message, param) = (json!(error.code), json!(error.message), json!(error.param));
    let kind = error.kind.as_str();
    let flat = format!(
        r#","sequence_number":{sequence},"code":{code},"message":{message},"param":{param},"error":{{"message":{message},"type":"{kind}","param":{param},"code":{code}}}"#
    );
    let mut event = Vec::new();
    write_event("error", &[flat.as_bytes()], &mut event);
    event
}
