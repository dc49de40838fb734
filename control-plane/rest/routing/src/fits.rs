//! `/v1/router/fits`: fits new packs on outcomes.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use opentracy_router::{LabeledOutcome, fit};
use opentracy_translate::error::ApiError;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

use opentracy_rest::audit_entry;
use opentracy_rest::endpoints::{Callers, Endpoints};
use opentracy_rest::error::Error;
use opentracy_rest::lines::Objects;
use opentracy_routing::learn::{self, FitOrder, Job};
use opentracy_state::AppState;
use opentracy_store::{Actor, AuditEntry, Micros};

/// Registers the endpoints of this file.
pub fn endpoints() -> Endpoints {
    Endpoints::of(Callers::Admins)
        .routes(routes!(begin, list))
        .routes(routes!(get))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FitParams {
    /// Maximum number of clusters: 2 to 1000, default 100.
    clusters: Option<usize>,
    /// Keeps the active pack's clusters and fits only the models that have outcomes, such as a new
    /// one.
    keep_clusters: bool,
    /// Activates the new pack.
    activate: bool,
    /// Description of the pack, for people.
    description: Option<String>,
}

impl Default for FitParams {
    fn default() -> Self {
        Self {
            clusters: None,
            keep_clusters: false,
            activate: true,
            description: None,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct Jobs {
    /// Newest first.
    data: Vec<Job>,
}

/// Starts a fit on the outcomes in the body, as JSON Lines: `prompt`, `model`, and `error` from 0
/// to 1. Without a body it uses the feedback on traces.
#[utoipa::path(
    post,
    path = "/v1/router/fits",
    params(FitParams),
    request_body(content = String, content_type = "application/x-ndjson"),
    responses((status = ACCEPTED, body = Job), (status = BAD_REQUEST, description = "An outcome is invalid, or there are too few"))
)]
pub async fn begin(
    State(shared): State<AppState>,
    Extension(by): Extension<Actor>,
    Query(params): Query<FitParams>,
    body: Body,
) -> Result<(axum::http::StatusCode, Json<Job>), Error> {
    let clusters = params.clusters.unwrap_or(fit::CLUSTERS);
    if !(2..=1000).contains(&clusters) {
        return Err(ApiError::invalid("clusters", "`clusters` must be from 2 to 1000").into());
    }
    if shared.router.embedder().is_none() {
        let words = "The router has no embedder, so no pack can be fitted; set `router.embedder`";
        return Err(ApiError::new(503, words).with_code("router_off").into());
    }
    let mut outcomes = read(body).await?;
    let mut source = "outcomes over REST";
    if outcomes.is_empty() {
        source = "feedback on traces";
        outcomes = learn::outcomes_of_feedback(&*shared.store, Micros(0)).await?;
    }
    if outcomes.len() < fit::LEAST_PROMPTS {
        let words = format!(
            "There are {} outcomes ({source}), and at least {} are needed: send them as lines of JSON, or give feedback on traces",
            outcomes.len(),
            fit::LEAST_PROMPTS
        );
        return Err(ApiError::new(400, words)
            .with_code("too_few_outcomes")
            .into());
    }
    let order = FitOrder {
        keep_clusters: params.keep_clusters,
        clusters,
        activate: params.activate,
        description: params
            .description
            .unwrap_or_else(|| format!("fitted on {source}")),
        source: source.to_owned(),
    };
    let router = std::sync::Arc::clone(&shared.router);
    audit_entry::note(&shared, AuditEntry::new("router.fit", by, source, 0)).await;
    let job = shared.fits.begin(router, outcomes, order);
    Ok((axum::http::StatusCode::ACCEPTED, Json(job)))
}

async fn read(body: Body) -> Result<Vec<LabeledOutcome>, Error> {
    let mut objects = Objects::new(body);
    let mut outcomes = Vec::new();
    while let Some((number, text)) = objects.next().await? {
        let outcome = LabeledOutcome::parse(&text).map_err(|reason| {
            ApiError::invalid(format!("line {number}"), format!("Line {number}: {reason}"))
        })?;
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// Lists the fits since the control plane started.
#[utoipa::path(get, path = "/v1/router/fits", responses((status = OK, body = Jobs)))]
pub async fn list(State(shared): State<AppState>) -> Json<Jobs> {
    Json(Jobs {
        data: shared.fits.list(),
    })
}

/// Returns one fit.
#[utoipa::path(
    get,
    path = "/v1/router/fits/{id}",
    params(("id" = String, Path, description = "The fit's id")),
    responses((status = OK, body = Job), (status = NOT_FOUND, description = "No such fit"))
)]
pub async fn get(
    State(shared): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Job>, Error> {
    let job = Uuid::try_parse(&id).ok().and_then(|id| shared.fits.get(id));
    let words = || ApiError::new(404, format!("No fit \"{id}\" since the last start"));
    Ok(Json(job.ok_or_else(words)?))
}
