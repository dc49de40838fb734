//! The memory of this VM: how much of it is taken, and if there is room for more.
//!
//! A VM has no more than 1 GiB, for all requests of its worker. One that asks for more traps, and
//! all of them fail. So a request is refused while there may be too little left for it.
//!
//! Source of the limit: `proxy-wasm-cpp-host`, `include/proxy-wasm/limits.h`.

use std::alloc::System;

use cap::Cap;
use opentracy_translate::error::ApiError;

/// The most bytes that may be taken with a new body. The rest is for growth and fragmentation.
const LIMIT: usize = 640 << 20;
/// The most bytes that may be taken while the content of answers is still recorded.
const RECORDING_LIMIT: usize = 384 << 20;
/// Copies of a body that are held at once: the body, its translation, and its output buffer.
const COPIES: usize = 3;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Returns the bytes that are taken.
pub fn taken() -> usize {
    ALLOCATOR.allocated()
}

/// Returns if a body of this many bytes can be worked on.
pub fn has_room_for(body: usize) -> bool {
    fits(taken(), body)
}

/// Returns if the content of answers may be recorded.
pub fn has_room_for_recording() -> bool {
    taken() <= RECORDING_LIMIT
}

/// Makes the error of a request that there is no room for.
pub fn refusal() -> ApiError {
    ApiError {
        retry_after: Some(1),
        ..ApiError::new(
            503,
            "The gateway has too many large requests under way. Try again",
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
    fn what_is_taken_is_counted_and_bounds_what_may_come() {
        let before = taken();
        let block = vec![0u8; 1 << 20];
        assert!(taken() >= before + block.len());
        assert!(fits(LIMIT - 3, 1) && !fits(LIMIT - 2, 1));
        assert!(!fits(0, usize::MAX));
    }
}
