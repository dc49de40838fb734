//! The aliases by which agents, and the models behind them, are called.

use std::time::Duration;

use opentracy_proto::constants::AGENTS_PROVIDER;

use crate::{Alias, Config, unplaced};

/// Margin by which the gateway's timeout exceeds the agent's own time limit.
const GRACE: Duration = Duration::from_secs(5);

/// Returns the alias that an agent's own model calls use.
pub fn alias_of(agent: &str) -> String {
    format!("{agent}.model")
}

/// Adds the aliases of the agents themselves and of the models behind them.
pub(crate) fn add_aliases(config: &mut Config) {
    let agents = std::mem::take(&mut config.agents);
    for (name, agent) in &agents {
        let of_agent = Alias {
            candidates: vec![unplaced(format!("{AGENTS_PROVIDER}/{name}"))],
            // The agent's own time limit ends a run first, with a clearer error.
            per_try_timeout: Some(agent.value.limits.timeout + GRACE),
            ..Alias::default()
        };
        let of_model = Alias {
            candidates: agent.value.candidates.clone(),
            ..Alias::default()
        };
        config.aliases.insert(name.clone(), unplaced(of_agent));
        config.aliases.insert(alias_of(name), unplaced(of_model));
    }
    config.agents = agents;
}
