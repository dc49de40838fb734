//! The filter that makes an Envoy an LLM gateway: the proxy-wasm side of it.
//!
//! Its logic is the crate `opentracy-filter-core`; this crate gives it Envoy's callbacks, and gives
//! Envoy its calls. Unsafe code is only in [`map_calls`], for a call that the SDK makes expensive.

// Everything is private: Envoy calls in through the module's exports.
#![allow(rustdoc::private_intra_doc_links)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

mod allocator;
mod contexts;
mod envoy;
mod map_calls;

use proxy_wasm::types::LogLevel;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|id| Box::new(contexts::WasmRoot::new(id)));
}}
