//! An error in the midst of a response.

use serde_json::json;

use crate::client::write_event;
use crate::error::ApiError;

/// The last event of a stream that has begun. Clients read it flat, as the API's reference has it, or as `error`, as its SDKs do.
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
