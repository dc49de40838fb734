//! The paths of the control plane that the gateway's listener serves too.
//!
//! The filter forwards them, and the control plane registers them; a test of the control plane
//! compares its endpoints with this list.

use crate::agent_paths::{AGENT_CARD, is_of_agents};

/// The exact paths, in addition to those of agents.
pub const EXACT: [&str; 3] = [AGENT_CARD, "/statsz", "/metrics"];

/// Returns `true` if the gateway's listener serves a path (without its query).
pub fn is_on_gateway(path: &str) -> bool {
    is_of_agents(path) || EXACT.contains(&path)
}

#[cfg(test)]
mod tests {
    use crate::agent_paths::is_card;

    use super::*;

    #[test]
    fn these_paths_are_on_the_gateway_and_no_way_out_of_them() {
        for path in ["/statsz", "/v1/a2a", "/v1/a2a/x", AGENT_CARD] {
            assert!(is_on_gateway(path), "{path}");
        }
        for path in [
            "/",
            "/v1/keys",
            "/v1/a2ax",
            "/v1/a2a/../keys",
            "/v1/traces",
            "/health",
            "/shop",
        ] {
            assert!(!is_on_gateway(path), "{path}");
        }
    }

    #[test]
    fn every_agents_card_is_public_and_nothing_else_is() {
        for path in [AGENT_CARD, "/v1/a2a/helper/.well-known/agent-card.json"] {
            assert!(is_on_gateway(path) && is_card(path), "{path}");
        }
        for path in [
            "/v1/a2a",
            "/v1/a2a/helper",
            "/statsz",
            "/v1/a2a/../x/.well-known/agent-card.json",
            "/x/.well-known/agent-card.json",
        ] {
            assert!(!is_card(path), "{path}");
        }
    }
}
