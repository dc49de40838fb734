//! The control plane: one process beside Envoy.
//!
//! [`config`] is the operator's configuration, [`snapshot`] the filter's view of it, and [`envoy`]
//! Envoy's configuration. [`api`] serves the filter and people. [`ingest`] moves traces through its
//! journal into the [`store`], [`spend`] prices and limits them, [`routing`] orders candidates.
//! [`serve`] puts everything together.

pub mod agents;
pub mod api;
pub mod check;
#[path = "../config/src/client_keys/mod.rs"]
pub mod client_keys;
#[path = "../base/src/clock.rs"]
pub mod clock;
#[path = "../config/src/file.rs"]
pub mod config;
pub mod credentials;
pub mod envoy;
#[path = "../base/src/health.rs"]
pub mod health;
#[path = "../base/src/http.rs"]
pub mod http;
pub mod ingest;
pub mod instances;
pub mod reload;
pub mod resources;
pub mod routing;
#[path = "../config/src/secrets/mod.rs"]
pub mod secrets;
pub mod serve;
pub mod shutdown;
#[path = "../config/src/snapshot.rs"]
pub mod snapshot;
pub mod spend;
pub mod state;
pub mod store;
pub mod telemetry;
#[path = "../base/src/worker_thread.rs"]
pub mod worker_thread;
