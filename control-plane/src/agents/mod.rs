//! Agents: a model that calls tools until it has an answer.
//!
//! A client asks for an agent as it asks for a model. The filter sends the request here like to any provider; `run` has the model's
//! turns made by the gateway (`turn`), so that they are routed, priced and traced like anybody's, and calls the tools between
//! them (`mcp`).

mod mcp;
mod run;
mod sse_transport;
pub mod task;
mod turn;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::config::{self, Config, unplaced};

pub use mcp::Health;
pub use run::{Event, Run, Stopped, Used, wire};
pub use turn::Gateway;

/// The provider that agents are behind.
pub const PROVIDER: &str = "agents";

/// By so much the gateway waits longer than an agent may take.
const GRACE: Duration = Duration::from_secs(5);

/// The alias of the models that think for an agent.
pub fn alias_of(agent: &str) -> String {
    format!("{agent}.model")
}

/// Adds what clients ask for agents by, and agents for their models.
pub fn add_aliases(config: &mut Config) {
    let agents = std::mem::take(&mut config.agents);
    for (name, agent) in &agents {
        let of_agent = config::Alias {
            candidates: vec![unplaced(format!("{PROVIDER}/{name}"))],
            // The agent ends by itself, with better words.
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

/// The agents in force, with their connections to servers.
#[derive(Default)]
pub struct Agents(Mutex<BTreeMap<String, Arc<Agent>>>);

pub struct Agent {
    pub name: String,
    pub config: config::Agent,
    servers: BTreeMap<String, Arc<mcp::Server>>,
}

impl Agents {
    /// An agent as it is configured now. Its connections are kept for as long as its configuration is.
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

    /// How the servers of each agent do that was asked for.
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
