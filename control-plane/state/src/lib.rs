//! The state that the servers of the control plane share.
//!
//! [`AppState`] holds a handle of each service. [`instances`] knows the VMs of the filter,
//! [`resources`] the owners of files and batches, [`metrics`] counts for Prometheus, and
//! [`status`] sums up for probes.

mod app_state;
pub mod instances;
pub mod metrics;
pub mod resources;
pub mod status;

pub use app_state::AppState;
