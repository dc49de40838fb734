//! The logic of the filter that makes an Envoy an LLM gateway.
//!
//! It runs as two stages, each in its own VM; the plugin configuration selects the stage:
//!
//! - the [`gateway`] stage plans a client's request, observes the answer and records the trace;
//! - the [`provider`] stage runs once per attempt and translates for the provider of that attempt.
//!
//! Both poll their [`snapshot`] of the configuration from the control plane and send their records
//! to it through the [`outbox`]. Provider formats live in the `opentracy-translate` crate.
//!
//! Whatever runs the logic implements [`host::Host`], creates a [`root::Root`], and hands it
//! Envoy's callbacks.
//!
//! A panic here takes a worker down, so nothing panics.

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
mod configuration;
mod contact;
mod control_plane;
pub mod deadline;
mod delivery;
mod events;
mod failure;
#[cfg(test)]
mod fake_envoy;
mod faults;
mod gateway;
pub mod headers;
mod health;
pub mod host;
mod ids;
mod memory;
pub mod metric_names;
mod metrics;
mod outbox;
mod plan;
mod plugin;
mod provider;
mod provider_keys;
pub mod random;
pub mod root;
mod shared_data;
mod siblings;
mod small_sort;
mod snapshot;
pub mod stream;
mod stream_prelude;
#[cfg(test)]
mod tests;
#[cfg(feature = "trap-for-tests")]
mod traps;
mod upstream;
pub mod vm;
