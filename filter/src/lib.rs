//! The filter that makes an Envoy an LLM gateway.
//!
//! One wasm file holds two stages, each in its own VM; the plugin configuration selects the stage:
//!
//! - the [`gateway`] stage plans a client's request, observes the answer and records the trace;
//! - the [`provider`] stage runs once per attempt and translates for the provider of that attempt.
//!
//! Both poll their [`snapshot`] of the configuration from the control plane and send their records
//! to it through the [`outbox`]. Provider formats live in the `opentracy-translate` crate; this
//! crate holds only the code that touches Envoy.
//!
//! A panic here takes a worker down, so nothing panics.

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

mod access_log;
mod allocator;
mod clock;
mod configuration;
mod contact;
mod contexts;
mod control_plane;
mod deadline;
mod delivery;
mod envoy;
mod events;
mod failure;
#[cfg(test)]
mod fake_envoy;
mod faults;
mod gateway;
mod headers;
mod health;
mod host;
mod memory;
mod metrics;
mod outbox;
mod plan;
mod plugin;
mod provider;
mod provider_keys;
mod root;
mod shared_data;
mod snapshot;
mod stream;
mod stream_prelude;
#[cfg(test)]
mod tests;
mod upstream;
mod vm;

use proxy_wasm::types::LogLevel;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|id| Box::new(contexts::WasmRoot::new(id)));
}}
