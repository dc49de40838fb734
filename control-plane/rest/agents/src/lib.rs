//! Endpoints that answer as a model does: agents, their tasks in Agent2Agent, and the demo
//! provider.

mod a2a;
mod agents;
mod demo;

use opentracy_rest::endpoints::Endpoints;

/// All endpoints; each file registers its own.
pub const ENDPOINTS: &[fn() -> Endpoints] = &[agents::endpoints, a2a::endpoints, demo::endpoints];
