//! The gateway stage: one context for each request of a client.
//!
//! The modules in the order in which a request meets them: [`planner`] resolves the model,
//! [`dispatch`] checks limits and the cache and chooses a candidate, [`send`] sends the request,
//! [`answer`] handles the response, and [`call`] holds the state and becomes the trace.
//! [`count_tokens`] and [`explain`] are separate endpoints.

mod access;
mod acquaintance;
mod answer;
mod budget;
mod cache;
mod call;
mod charge;
mod context;
mod count_tokens;
mod dispatch;
mod envoys_reply;
mod explain;
mod gateway_endpoint;
mod lease;
mod leases;
mod limit_errors;
pub mod limits;
mod management;
mod models;
mod named_files;
mod own_attempts;
mod owners;
mod passthrough;
mod planner;
mod privacy;
mod probes;
mod router;
mod send;
mod session;
mod stage;
mod strategy;
mod trace_builder;

pub use stage::GatewayStage;
