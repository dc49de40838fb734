//! The REST API, made of the endpoints of all its crates.

use axum::Router;

use opentracy_rest::endpoints::Endpoints;
use opentracy_rest::routes;
use opentracy_state::AppState;

/// The endpoints of each crate.
const CRATES: &[&[fn() -> Endpoints]] = &[
    opentracy_rest_agents::ENDPOINTS,
    opentracy_rest_keys::ENDPOINTS,
    opentracy_rest_operations::ENDPOINTS,
    opentracy_rest_routing::ENDPOINTS,
    opentracy_rest_traces::ENDPOINTS,
];

/// Builds all routes, and their description at `/openapi.json`.
pub fn router(shared: AppState) -> Router {
    routes::router(shared, endpoints())
}

fn endpoints() -> Endpoints {
    let all = CRATES.iter().copied().flatten();
    let all = all.map(|endpoints| endpoints());
    all.fold(Endpoints::default(), Endpoints::merge)
}

#[cfg(test)]
mod tests {
    use opentracy_translate::agent_paths::is_of_agents;
    use opentracy_translate::management_paths::{EXACT, is_on_gateway};

    use super::*;
    use opentracy_rest::endpoints::Callers;

    #[test]
    fn the_filter_forwards_the_endpoints_that_are_on_the_gateway() {
        let policies = endpoints().policies;
        for (path, policy) in &policies {
            let parts = path.split('/').map(|part| match part.starts_with('{') {
                true => "x",
                false => part,
            });
            let example = parts.collect::<Vec<_>>().join("/");
            assert_eq!(is_on_gateway(&example), policy.is_on_gateway, "{path}");
        }
        for path in EXACT {
            assert!(policies[path].is_on_gateway, "{path}");
        }
        assert!(policies.keys().any(|path| is_of_agents(path)));
    }

    #[test]
    fn every_path_but_these_needs_a_key() {
        let policies = endpoints().policies.into_iter();
        let open = policies.filter(|(_, policy)| policy.callers == Callers::Everybody);
        let open: Vec<String> = open.map(|(path, _)| path).collect();
        let expected = [
            "/.well-known/agent-card.json",
            "/demo/v1/chat/completions",
            "/health",
            "/healthz",
            "/readyz",
            "/v1/a2a/{agent}/.well-known/agent-card.json",
        ];
        assert_eq!(open, expected);
    }

    #[test]
    fn no_two_files_describe_different_schemas_by_one_name() {
        let mut seen = std::collections::BTreeMap::new();
        let mut ambiguous = std::collections::BTreeSet::new();
        for endpoints in CRATES.iter().copied().flatten() {
            let components = endpoints().routes.into_openapi().components;
            for (name, schema) in components.unwrap_or_default().schemas {
                let schema = serde_json::to_value(schema).unwrap();
                if *seen.entry(name.clone()).or_insert_with(|| schema.clone()) != schema {
                    ambiguous.insert(name);
                }
            }
        }
        assert!(ambiguous.is_empty(), "{ambiguous:?}");
    }
}
