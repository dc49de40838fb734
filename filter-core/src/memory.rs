//! The memory of this VM: the amount in use, and the limits for new requests.
//!
//! A VM has at most 1 GiB for all requests of its worker. A VM that allocates more traps, and all
//! of its requests fail. So a request is refused if it might exhaust the memory that is left.
//!
//! Source of the limit: `proxy-wasm-cpp-host`, `include/proxy-wasm/limits.h`.

use opentracy_translate::error::ApiError;

use crate::host::Host;
use crate::metrics;

/// The most bytes in use that a new body may bring the VM to. The rest is for growth and
/// fragmentation.
const LIMIT: usize = 640 << 20;
/// The most bytes in use at which the content of answers is still recorded.
const RECORDING_LIMIT: usize = 384 << 20;
/// Copies of a body that exist at once: the body, its translation, and its output buffer.
const COPIES: usize = 3;

/// Returns whether there is memory for a body of this many bytes.
pub fn has_room_for(host: &impl Host, body: usize) -> bool {
    fits(host.memory_in_use(), body)
}

/// Returns whether the content of answers may be recorded.
pub fn has_room_for_recording(host: &impl Host) -> bool {
    host.memory_in_use() <= RECORDING_LIMIT
}

/// Returns the response body that Envoy buffers, of `size` bytes, or the error if it doesn't fit.
pub fn response_body(host: &impl Host, size: usize) -> Result<Vec<u8>, ApiError> {
    if has_room_for(host, size) {
        Ok(host.response_body(0))
    } else {
        Err(refusal(host))
    }
}

/// Counts a body that doesn't fit in memory, and returns the error for it.
pub fn refusal(host: &impl Host) -> ApiError {
    metrics::count_event(host, "gateway_overloaded", None);
    ApiError {
        retry_after: Some(1),
        ..ApiError::new(
            503,
            "The gateway has too many large requests in progress. Try again",
        )
        .with_code("gateway_overloaded")
    }
}

const fn fits(taken: usize, body: usize) -> bool {
    taken.saturating_add(body.saturating_mul(COPIES)) <= LIMIT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_in_use_bounds_new_bodies() {
        assert!(fits(LIMIT - 3, 1) && !fits(LIMIT - 2, 1));
        assert!(!fits(0, usize::MAX));
    }
}
