//! The active agents.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::mcp;
use opentracy_config::{self as config, Config};

/// The active agents, with their connections to MCP servers.
#[derive(Default)]
pub struct Agents(Mutex<BTreeMap<String, Arc<Agent>>>);

pub struct Agent {
    pub name: String,
    pub config: config::AgentConfig,
    pub(crate) servers: BTreeMap<String, Arc<mcp::Server>>,
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
    pub fn health(&self) -> BTreeMap<String, BTreeMap<String, mcp::McpHealth>> {
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
