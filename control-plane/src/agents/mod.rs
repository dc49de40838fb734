//! Agents: a model that calls tools until it has an answer.
//!
//! A client requests an agent like a model, by alias. The filter forwards the request to the
//! control plane as to any provider. `run` holds the agent loop: it sends the model's turns through
//! the gateway (`turn`), so that they are routed, priced and traced like any client's, and calls
//! tools between them (`mcp`).

mod mcp;
mod run;
mod sse_transport;
pub mod task;
mod turn;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentracy_proto::constants::AGENTS_PROVIDER;

use crate::config::{self, Config, unplaced};

pub use mcp::Health;
pub use run::{Event, Run, Stopped, Used, wire};
pub use turn::Gateway;

/// Margin by which the gateway's timeout exceeds the agent's own time limit.
const GRACE: Duration = Duration::from_secs(5);

/// Returns the alias that an agent's own model calls use.
pub fn alias_of(agent: &str) -> String {
    format!("{agent}.model")
}

/// Adds the aliases of the agents themselves and of the models behind them.
pub fn add_aliases(config: &mut Config) {
    let agents = std::mem::take(&mut config.agents);
    for (name, agent) in &agents {
        let of_agent = config::Alias {
            candidates: vec![unplaced(format!("{AGENTS_PROVIDER}/{name}"))],
            // The agent's own time limit ends a run first, with a clearer error.
            per_try_timeout: Some(agent.value.limits.timeout + GRACE),
            ..config::Alias::default()
        };
        let of_model = config::Alias {
            candidates: agent.value.candidates.clone(),
            ..config::Alias::default()
        };
        config.aliases.insert(name.clone(), unplaced(of_agent));
        config.aliases.insert(alias_of(name), unplaced(of_model));
    }
    config.agents = agents;
}

/// The active agents, with their connections to MCP servers.
#[derive(Default)]
pub struct Agents(Mutex<BTreeMap<String, Arc<Agent>>>);

pub struct Agent {
    pub name: String,
    pub config: config::Agent,
    servers: BTreeMap<String, Arc<mcp::Server>>,
}

impl Agents {
    /// Returns the agent as currently configured. Its connections live until its configuration
    /// changes.
    pub fn get(&self, name: &str, config: &Config) -> Option<Arc<Agent>> {
        let mut agents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(configured) = config.agents.get(name) else {
            agents.remove(name);
            return None;
        };
        let known = agents.get(name);
        if let Some(agent) = known.filter(|agent| agent.config == configured.value) {
            return Some(Arc::clone(agent));
        }
        let servers = configured.value.mcp_servers.iter();
        let agent = Arc::new(Agent {
            name: name.to_owned(),
            servers: servers
                .map(|(name, server)| {
                    (
                        name.clone(),
                        Arc::new(mcp::Server::new(name, &server.value)),
                    )
                })
                .collect(),
            config: configured.value.clone(),
        });
        agents.insert(name.to_owned(), Arc::clone(&agent));
        Some(agent)
    }

    /// Returns the health of each agent's MCP servers; covers the agents used so far.
    pub fn health(&self) -> BTreeMap<String, BTreeMap<String, Health>> {
        let agents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_agent = |agent: &Agent| {
            let servers = agent.servers.iter();
            servers
                .map(|(name, server)| (name.clone(), server.health()))
                .collect()
        };
        agents
            .iter()
            .map(|(name, agent)| (name.clone(), of_agent(agent)))
            .collect()
    }
}
