//! Endpoints, as the files of this folder register them: their routes, their description in
//! `/openapi.json`, their callers, and the listeners that serve them.

use std::collections::BTreeMap;

use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use opentracy_state::AppState;

/// The callers of an endpoint. Keys with the role `admin` call all but [`Gateway`](Self::Gateway).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Callers {
    /// Keys with the role `admin`, and to read also those with `read-only`.
    #[default]
    Admins,
    /// Keys of any role: applications call it. `read-only` only reads.
    Users,
    /// Anyone, without a key.
    Everybody,
    /// The filter, as it calls any provider.
    Gateway,
}

/// The callers and listeners of one path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndpointPolicy {
    pub callers: Callers,
    /// `true` if the gateway's listener serves the path too.
    pub is_on_gateway: bool,
}

/// Endpoints with their policies.
#[derive(Default)]
pub struct Endpoints {
    pub routes: OpenApiRouter<AppState>,
    /// By path, as the router matches it, for example `/v1/keys/{name}`.
    pub policies: BTreeMap<String, EndpointPolicy>,
    /// The policy of the routes that are added.
    policy: EndpointPolicy,
}

impl Endpoints {
    /// Creates a list whose endpoints are for these callers, on the management listener.
    pub fn of(callers: Callers) -> Self {
        Self {
            policy: EndpointPolicy {
                callers,
                is_on_gateway: false,
            },
            ..Self::default()
        }
    }

    /// Has the gateway's listener serve the endpoints that are added from here on. Their paths must
    /// be in `opentracy_translate::management_paths`, by which the filter knows them.
    #[must_use]
    pub fn on_gateway(mut self) -> Self {
        self.policy.is_on_gateway = true;
        self
    }

    /// Adds the handlers of one path, as `utoipa_axum::routes!` collects them.
    #[must_use]
    pub fn routes(mut self, routes: UtoipaMethodRouter<AppState>) -> Self {
        let paths = routes.1.paths.keys();
        let policies = paths.map(|path| (path.clone(), self.policy));
        self.policies.extend(policies);
        self.routes = self.routes.routes(routes);
        self
    }

    /// Adds other endpoints with their own policies.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        // Of two schemas with one name the later counts, as among the routes of one file.
        if let Some(components) = &other.routes.get_openapi().components {
            let own = &mut self.routes.get_openapi_mut().components;
            let schemas = components.schemas.clone();
            own.get_or_insert_default().schemas.extend(schemas);
        }
        self.routes = self.routes.merge(other.routes);
        self.policies.extend(other.policies);
        self
    }
}
