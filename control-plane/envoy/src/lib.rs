//! Envoy's configuration: the bootstrap of a standalone Envoy, or an existing bootstrap with the
//! gateway added.
//!
//! `envoy/standalone.yaml` is the same configuration written by hand, with the reason for every
//! setting; a test keeps the two in sync. [`command`] is `opentracy envoy-config`.

mod access_log;
mod address;
mod bootstrap;
mod clusters;
pub mod command;
mod filters;
mod guest;
mod listeners;
mod replies;
mod routes;

pub use filters::FilterKind;
pub use guest::HostEnvoy;
