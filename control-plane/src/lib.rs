//! The control plane: one process beside Envoy.
//!
//! [`config`] is what the operator wrote, [`snapshot`] what the filter gets of it, [`envoy`] what Envoy gets.
//! [`grpc`] serves the filter, [`rest`] serves people, [`ingest`] brings traces by the [`journal`] into the [`store`], [`router`] orders candidates.
//! [`serve`] puts them together.

pub mod access_latch;
pub mod agents;
pub mod auto;
pub mod background;
pub mod budget;
pub mod catalog;
pub mod check;
pub mod client_keys;
pub mod config;
pub mod connections;
pub mod credentials;
pub mod envoy;
pub mod grpc;
pub mod health;
pub mod http;
pub mod ingest;
pub mod ingest_bounds;
pub mod journal;
pub mod limits;
pub mod prices;
pub mod private;
pub mod reload;
pub mod reprice;
pub mod resources;
pub mod rest;
pub mod router;
pub mod secrets;
pub mod serve;
pub mod snapshot;
pub mod store;
pub mod telemetry;
pub mod vms;
