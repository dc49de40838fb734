//! `GET /health`, and `GET /healthz` for those who want a status only.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::health::HealthReason;
use crate::serve::Shared;

#[derive(Serialize, ToSchema)]
pub struct Health {
    /// `healthy`, or `degraded` if there are reasons. Both are a 200: calls are answered either way.
    status: &'static str,
    /// The faults that are present.
    reasons: Vec<HealthReason>,
    /// Who gets in: `keys`, callers with a key or a token; `closed`, nobody, because no key can be used; `open`, everybody.
    access: &'static str,
    version: &'static str,
    /// Whether a router pack is in force.
    router_initialized: bool,
    /// Models that can be called.
    num_models: usize,
    /// Semantic clusters that the router knows.
    num_clusters: usize,
    embedder_ready: bool,
    /// Bytes of traces that wait for the store.
    journal_backlog_bytes: u64,
}

/// Returns the state of the control plane: faults that are present, and what it knows.
#[utoipa::path(get, path = "/health", responses((status = OK, body = Health)))]
pub async fn health(State(shared): State<Shared>) -> Json<Health> {
    let snapshot = shared.snapshot.borrow().clone();
    let active = shared.router.active();
    let reasons = shared.health.reasons();
    Json(Health {
        status: if reasons.is_empty() {
            "healthy"
        } else {
            "degraded"
        },
        reasons,
        access: snapshot.access().as_str(),
        version: env!("CARGO_PKG_VERSION"),
        router_initialized: active.is_some(),
        num_models: super::models::callable(&snapshot).count(),
        num_clusters: active.map_or(0, |active| active.pack.clusters.len()),
        embedder_ready: shared.router.embedder().is_some(),
        journal_backlog_bytes: shared.ingest.backlog_bytes(),
    })
}

/// Whether the control plane is up.
#[utoipa::path(get, path = "/healthz", responses((status = OK, body = String, content_type = "text/plain")))]
pub async fn healthz() -> &'static str {
    "ok"
}
