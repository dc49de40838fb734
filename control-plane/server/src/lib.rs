//! The servers of the control plane, and its start.
//!
//! [`serve`] opens the parts, and runs them until a signal stops the process. `grpc` serves the
//! filter, `rest_listener` serves routes that the caller builds, on `connections` that are bounded;
//! `reload` reads changes of the configuration, and `otlp` exports calls as spans.

mod connections;
mod grpc;
mod otlp;
mod reload;
mod rest_listener;
pub mod serve;
mod shutdown;
