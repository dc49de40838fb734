//! `POST /v1/router/replay`: estimates what a pack would have chosen for past calls.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use opentracy_translate::error::ApiError;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use opentracy_config::auto_alias;
use opentracy_rest::endpoints::{Callers, Endpoints};
use opentracy_rest::error::Error;
use opentracy_rest::params::{self, FilterParams};
use opentracy_routing::{explain, replay};
use opentracy_state::AppState;

/// Registers the endpoints of this file.
pub fn endpoints() -> Endpoints {
    Endpoints::of(Callers::Admins).routes(routes!(replay))
}

const MAX_CALLS: u64 = 10_000;
const DEFAULT_CALLS: u64 = 1000;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct ReplayParams {
    /// A pack's version; default: the active pack.
    pack: Option<String>,
    /// The alias whose candidates and weights are used; default `auto`.
    route: Option<String>,
    /// Overrides the alias's.
    cost_weight: Option<f64>,
    /// Maximum number of calls, newest first: up to 10000, default 1000.
    calls: Option<u64>,
}

/// The estimated outcome. Costs are in USD; errors are the pack's expectations.
#[derive(Serialize, ToSchema)]
pub struct Replayed {
    pack: String,
    #[serde(flatten)]
    #[schema(value_type = Object)]
    replay: opentracy_router::replay::Replay,
}

/// Replays the traces that match the filters. Calls no models.
#[utoipa::path(
    post,
    path = "/v1/router/replay",
    params(FilterParams, ReplayParams),
    responses((status = OK, body = Replayed), (status = SERVICE_UNAVAILABLE, description = "No active pack, or no embedder"))
)]
pub async fn replay(
    State(shared): State<AppState>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Replayed>, Error> {
    let (filter, params) = params::read::<ReplayParams>(query)?;
    let off = || {
        ApiError::new(
            503,
            "No router pack is active, or the router has no embedder",
        )
        .with_code("router_off")
    };
    let embedder = shared.router.embedder().ok_or_else(off)?;
    let pack = match &params.pack {
        Some(version) => shared.router.library().load(version)?,
        None => shared.router.active().ok_or_else(off)?.pack.clone(),
    };
    let snapshot = Arc::clone(&shared.snapshot.borrow());
    let name = params.route.as_deref().unwrap_or(auto_alias::NAME);
    let alias = snapshot.config.aliases.get(name).map(|alias| &alias.value);
    let alias =
        alias.ok_or_else(|| ApiError::invalid("route", format!("Unknown alias \"{name}\"")))?;
    explain::check_cost_weight(params.cost_weight)?;
    let calls = params.calls.unwrap_or(DEFAULT_CALLS);
    if !(1..=MAX_CALLS).contains(&calls) {
        let words = format!("`calls` must be from 1 to {MAX_CALLS}");
        return Err(ApiError::invalid("calls", words).into());
    }
    let replayed = replay::run(
        &*shared.store,
        &**embedder,
        (&pack, &snapshot, &shared.live),
        &alias.in_order(),
        &alias.routing.weights(params.cost_weight),
        (filter, calls),
    )
    .await
    .map_err(|error| {
        tracing::error!("a replay failed: {error:#}");
        ApiError::new(503, format!("The replay failed: {error}"))
    })?;
    Ok(Json(Replayed {
        pack: pack.version,
        replay: replayed,
    }))
}
