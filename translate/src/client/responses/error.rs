//! An error in the midst of a response.

use serde_json::json;

use crate::client::write_event;
use crate::error::ApiError;

/// The last event of a stream that has begun. Clients read it flat, as the API's reference has it, or as `error`, as its SDKs do.
pub fn to_sse(error: &ApiError, sequence: u64) -> Vec<u8> {
    let details = json!({
        "message": error.message,
        "type": error.kind.as_str(),
        "param": error.param,
        "code": error.code,
    });
    let flat = format!(
        ",\"sequence_number\":{sequence},\"code\":{},\"message\":{},\"param\":{},\"error\":{details}",
        details["code"], details["message"], details["param"],
    );
    let mut event = Vec::new();
    write_event("error", &[flat.as_bytes()], &mut event);
    event
}
