//! `/v1/router`: the router's status and its packs.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use opentracy_router::Pack;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use opentracy_rest::endpoints::{Callers, Endpoints};
use opentracy_rest::error::Error;
use opentracy_state::AppState;
use opentracy_store::{Actor, AuditEntry};

/// Registers the endpoints of this file.
pub fn endpoints() -> Endpoints {
    Endpoints::of(Callers::Admins)
        .routes(routes!(status))
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(activate))
        .routes(routes!(roll_back))
}

/// The router's current state.
#[derive(Serialize, ToSchema)]
pub struct Status {
    /// The active pack; `null` if no pack is active, in which case aliases use their default.
    pack: Option<PackDescription>,
    /// The name of the embedding model; `null` without an embedder.
    embedder: Option<String>,
    /// The share of recent prompts that are unlike those that the pack was fitted on; `null` if
    /// there are too few.
    far_prompts_ratio: Option<f64>,
}

/// A pack.
#[derive(Serialize, ToSchema)]
#[schema(as = Description)]
pub struct PackDescription {
    version: String,
    /// `prior`: published benchmarks. `fitted`: outcomes. `imported`: another router's.
    kind: &'static str,
    description: String,
    /// RFC 3339.
    created_at: String,
    is_active: bool,
    embedder: String,
    clusters: usize,
    models: Vec<ModelDescription>,
}

#[derive(Serialize, ToSchema)]
pub struct ModelDescription {
    model: String,
    mean_error: f64,
    /// Number of outcomes behind the profile.
    outcomes: f64,
    /// `true` if it distinguishes prompts within a cluster.
    has_head: bool,
    source: String,
    date: String,
    /// Accuracy of its estimates on prompts that it was not fitted on; `null` if it was not
    /// measured.
    #[schema(value_type = Option<Object>)]
    calibration: Option<opentracy_router::quality::Calibration>,
}

#[derive(Serialize, ToSchema)]
pub struct Packs {
    /// In order of creation.
    data: Vec<PackDescription>,
    /// Versions that can't be read, with the error.
    damaged: BTreeMap<String, String>,
}

/// Returns the active pack and how well it fits the traffic.
#[utoipa::path(get, path = "/v1/router", responses((status = OK, body = Status)))]
pub async fn status(State(shared): State<AppState>) -> Json<Status> {
    let router = &shared.router;
    let active = router.active();
    Json(Status {
        pack: active.map(|active| describe(&active.pack, &active.pack.version, true)),
        embedder: router
            .embedder()
            .map(|embedder| embedder.identity().model.clone()),
        far_prompts_ratio: router.drift.share(),
    })
}

/// Lists all packs.
#[utoipa::path(get, path = "/v1/router/packs", responses((status = OK, body = Packs)))]
pub async fn list(State(shared): State<AppState>) -> Result<Json<Packs>, Error> {
    let library = shared.router.library();
    let active = active_version(&shared);
    let mut packs = Packs {
        data: Vec::new(),
        damaged: BTreeMap::new(),
    };
    for version in library.versions()? {
        match library.load(&version) {
            Ok(pack) => {
                let is_active = active.as_ref() == Some(&version);
                packs.data.push(describe(&pack, &version, is_active));
            }
            Err(error) => {
                packs.damaged.insert(version, error.to_string());
            }
        }
    }
    Ok(Json(packs))
}

/// Returns one pack.
#[utoipa::path(
    get,
    path = "/v1/router/packs/{version}",
    params(("version" = String, Path, description = "The pack's version")),
    responses((status = OK, body = PackDescription), (status = NOT_FOUND, description = "No such pack"))
)]
pub async fn get(
    State(shared): State<AppState>,
    Path(version): Path<String>,
) -> Result<Json<PackDescription>, Error> {
    let pack = shared.router.library().load(&version)?;
    let is_active = active_version(&shared).as_ref() == Some(&version);
    Ok(Json(describe(&pack, &version, is_active)))
}

/// Activates a pack. Requests in progress keep the pack they started with.
#[utoipa::path(
    post,
    path = "/v1/router/packs/{version}/activate",
    params(("version" = String, Path, description = "The pack's version")),
    responses((status = OK, body = Status), (status = NOT_FOUND, description = "No such pack"))
)]
pub async fn activate(
    State(shared): State<AppState>,
    Path(version): Path<String>,
    Extension(by): Extension<Actor>,
) -> Result<Json<Status>, Error> {
    shared.router.activate(&version)?;
    note(&shared, "activate router pack", by, version).await?;
    Ok(status(State(shared)).await)
}

/// Activates the previously active pack.
#[utoipa::path(
    post,
    path = "/v1/router/rollback",
    responses((status = OK, body = Status), (status = CONFLICT, description = "No pack was active before"))
)]
pub async fn roll_back(
    State(shared): State<AppState>,
    Extension(by): Extension<Actor>,
) -> Result<Json<Status>, Error> {
    let version = shared.router.roll_back()?;
    note(&shared, "roll back router pack", by, version).await?;
    Ok(status(State(shared)).await)
}

async fn note(shared: &AppState, action: &str, by: Actor, version: String) -> Result<(), Error> {
    let entry = AuditEntry::new(action, by, version, 1);
    Ok(shared.store.note(entry).await?)
}

fn active_version(shared: &AppState) -> Option<String> {
    shared
        .router
        .active()
        .map(|active| active.pack.version.clone())
}

fn describe(pack: &Pack, version: &str, is_active: bool) -> PackDescription {
    PackDescription {
        version: version.to_owned(),
        kind: pack.metadata.kind.name(),
        description: pack.metadata.description.clone(),
        created_at: pack.metadata.created_at.clone(),
        is_active,
        embedder: pack.metadata.embedder.model.clone(),
        clusters: pack.clusters.len(),
        models: pack
            .profiles
            .iter()
            .map(|profile| ModelDescription {
                model: profile.model.clone(),
                mean_error: profile.mean_error,
                outcomes: profile.counts.iter().sum(),
                has_head: profile.head.is_some(),
                source: profile.source.clone(),
                date: profile.date.clone(),
                calibration: pack.calibration.get(&profile.model).copied(),
            })
            .collect(),
    }
}
