//! Agents: a model that calls tools until it has an answer.
//!
//! A client requests an agent like a model, by alias. The filter forwards the request to the
//! control plane as to any provider. `run` holds the agent loop: it sends the model's turns through
//! the gateway (`turn`), so that they are routed, priced and traced like any client's, and calls
//! tools between them (`mcp`).

mod agent;
mod mcp;
mod run;
mod sse_transport;
pub mod task;
mod turn;

pub use agent::{Agent, Agents};
pub use mcp::McpHealth;
pub use run::{Run, RunEvent, StoppedRun, Used, wire};
pub use turn::GatewayClient;
