//! The latest configuration from the control plane.

mod catalog;
mod client;
mod current;
mod index;
mod provider;
mod target;

pub use client::Client;
pub use current::{current, missing, replace};
pub use index::Snapshot;
pub use provider::Provider;
