//! `POST /v1/router/replay`: what a pack would have chosen for calls that were made.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use opentracy_translate::error::ApiError;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::rest::error::Error;
use crate::api::rest::params::{self, FilterParams};
use crate::config::auto_alias;
use crate::routing::replay;
use crate::state::AppState;

const MAX_CALLS: u64 = 10_000;
const DEFAULT_CALLS: u64 = 1000;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct ReplayParams {
    /// A pack's version; the one in force without it.
    pack: Option<String>,
    /// The alias whose candidates and weights are used; `auto` without it.
    route: Option<String>,
    /// In place of the alias's.
    cost_weight: Option<f64>,
    /// Calls at most, newest first: up to 10000, 1000 without it.
    calls: Option<u64>,
}

/// What would have been. Costs are in USD; errors are what the pack expects.
#[derive(Serialize, ToSchema)]
pub struct Replayed {
    pack: String,
    #[serde(flatten)]
    #[schema(value_type = Object)]
    replay: opentracy_router::replay::Replay,
}

/// Goes over the traces that filters fit. No model is called.
#[utoipa::path(
    post,
    path = "/v1/router/replay",
    params(FilterParams, ReplayParams),
    responses((status = OK, body = Replayed), (status = SERVICE_UNAVAILABLE, description = "There is no router"))
)]
pub async fn replay(
    State(shared): State<AppState>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Replayed>, Error> {
    let (filter, params) = params::read::<ReplayParams>(query)?;
    let off = || {
        ApiError::new(503, "There is no router pack in force, or no embedder")
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
        alias.ok_or_else(|| ApiError::invalid("route", format!("There is no alias \"{name}\"")))?;
    params::check_cost_weight(params.cost_weight)?;
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
        ApiError::new(503, format!("The replay stopped: {error}"))
    })?;
    Ok(Json(Replayed {
        pack: pack.version,
        replay: replayed,
    }))
}
