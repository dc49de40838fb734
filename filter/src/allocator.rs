//! The allocator, which counts the bytes in use.

use std::alloc::System;

use cap::Cap;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Returns the bytes in use.
pub fn allocated() -> usize {
    ALLOCATOR.allocated()
}
