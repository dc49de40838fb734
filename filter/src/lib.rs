//! The filter that makes an Envoy an LLM gateway.
//!
//! One wasm file, two stages, each in a VM of its own; the plugin configuration says which one it is:
//!
//! - the [`gateway`] stage plans a client's request, observes the answer and records the trace;
//! - the [`provider`] stage runs once per attempt and translates for the provider of that attempt.
//!
//! Both keep a [`snapshot`] of the configuration that they poll from the control plane, and hand what they saw to it
//! through the [`outbox`]. Provider formats are the `opentracy-translate` crate's; here is only what touches Envoy.
//!
//! A panic here is an outage of a worker, so nothing panics.

// All of it is private: Envoy calls in by the module's exports.
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
mod clock;
mod contact;
mod deadline;
mod events;
mod failure;
mod faults;
mod gateway;
mod headers;
mod health;
mod host;
mod memory;
mod metrics;
mod opening;
mod outbox;
mod plan;
mod plugin;
mod provider;
mod provider_keys;
mod root;
mod snapshot;
mod upstream;

use proxy_wasm::types::LogLevel;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|id| Box::new(root::Root::new(id)));
}}
