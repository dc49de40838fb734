//! The control plane: one process beside Envoy.
//!
//! [`opentracy_config`] is the operator's configuration and the filter's view of it, and [`envoy`]
//! Envoy's configuration. [`api`] serves the filter and people. [`ingest`] moves traces through its
//! journal into the
//! [store](opentracy_store), [`spend`] prices and limits them, [`routing`] orders candidates.
//! [`serve`] puts everything together.

pub mod api;
pub mod check;
pub mod envoy;
pub mod instances;
pub mod reload;
pub mod resources;
pub mod serve;
pub mod shutdown;
pub mod state;
pub mod telemetry;
