//! The allocator, which counts the bytes in use.

use std::alloc::System;
use std::sync::atomic::{AtomicUsize, Ordering};

use cap::Cap;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// The VMs on all threads.
static VMS: AtomicUsize = AtomicUsize::new(0);

/// Counts a VM that begins.
pub fn add_vm() {
    VMS.fetch_add(1, Ordering::Relaxed);
}

/// Counts a VM that ends.
pub fn remove_vm() {
    VMS.fetch_sub(1, Ordering::Relaxed);
}

/// Returns the bytes that each VM uses on average. They share one heap, in which blocks move from
/// thread to thread.
pub fn share_of_a_vm() -> usize {
    ALLOCATOR.allocated() / VMS.load(Ordering::Relaxed).max(1)
}
