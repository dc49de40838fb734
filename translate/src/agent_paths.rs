//! The paths of agents (Agent2Agent), on the gateway's listener and on the control plane's.

/// The prefix of the agents' paths.
const AGENTS: &str = "/v1/a2a";
/// The path of the card of the first agent; each agent's own card has it below its path.
pub const AGENT_CARD: &str = "/.well-known/agent-card.json";

/// Returns true for an agent card. Cards are public, since they exist to be discovered.
pub fn is_card(path: &str) -> bool {
    path == AGENT_CARD || (is_of_agents(path) && path.ends_with(AGENT_CARD))
}

/// Returns true for a path of an agent.
pub fn is_of_agents(path: &str) -> bool {
    let is_below = path
        .strip_prefix(AGENTS)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    is_below && !path.split('/').any(|part| matches!(part, "." | ".."))
}
