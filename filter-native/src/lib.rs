//! The filter that makes an Envoy an LLM gateway, as a native dynamic module of Envoy.
//!
//! Its logic is the crate `opentracy-filter-core`; this crate gives it Envoy's hooks, and gives
//! Envoy its calls. Unsafe code is in [`abi`], which declares Envoy's interface by the macro of
//! [`functions`], in the modules named `…_calls`, [`buffers`] and [`logger`], which make it safe,
//! and in the modules named `…_hooks`.
//!
//! Envoy's process has no wall around this module. So no panic leaves a hook: it ends the request
//! that it happened in.

#![allow(rustdoc::private_intra_doc_links)]
#![deny(unsafe_op_in_unsafe_fn)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

mod abi;
mod active_stream;
mod allocator;
mod buffers;
mod client;
mod cluster_calls;
mod cluster_hooks;
mod compatibility;
mod configuration;
mod elf;
mod envoy;
mod filter;
mod filter_calls;
mod functions;
mod handles;
mod hold;
mod http_hooks;
// Not in tests, which run on the system that builds them.
#[cfg(all(target_env = "gnu", not(test)))]
mod libc_calls;
mod logger;
mod metrics;
mod panics;
mod shared_data;
mod stage_filter;
mod symbol_calls;
mod worker;
