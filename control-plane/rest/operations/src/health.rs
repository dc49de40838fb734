//! `GET /health`, and `GET /healthz` and `/readyz` for probes that only need a status. The gateway
//! serves all three on its own listener, with the control plane's fields as of the last poll.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use opentracy_base::health::HealthReason;
use opentracy_rest::endpoints::{Callers, Endpoints};
use opentracy_state::AppState;
use opentracy_state::status;

/// Registers the endpoints of this file.
pub fn endpoints() -> Endpoints {
    Endpoints::of(Callers::Everybody)
        .routes(routes!(health))
        .routes(routes!(healthz))
        .routes(routes!(readyz))
}

#[derive(Serialize, ToSchema)]
pub struct HealthReport {
    /// `healthy`, or `degraded` if there are reasons. Both come with status 200, since calls are
    /// served either way.
    status: &'static str,
    /// The active faults.
    reasons: Vec<HealthReason>,
    /// Admitted callers: `keys`, callers with a key or a token; `closed`, no caller, because no key
    /// can be used; `open`, everybody.
    access: &'static str,
    version: &'static str,
    /// `true` if a router pack is active.
    router_initialized: bool,
    /// Number of models that can be called.
    num_models: u64,
    /// Number of semantic clusters in the active pack.
    num_clusters: u64,
    embedder_ready: bool,
    /// Bytes of traces in the journal that the store doesn't have yet.
    journal_backlog_bytes: u64,
}

/// Returns the state of the control plane: active faults and key figures.
#[utoipa::path(get, path = "/health", responses((status = OK, body = HealthReport)))]
pub async fn health(State(shared): State<AppState>) -> Json<HealthReport> {
    let reasons = shared.health.reasons();
    let status = status::of(&shared);
    Json(HealthReport {
        status: if reasons.is_empty() {
            "healthy"
        } else {
            "degraded"
        },
        reasons,
        access: shared.snapshot.borrow().access().as_str(),
        version: env!("CARGO_PKG_VERSION"),
        router_initialized: status.router_initialized,
        num_models: status.num_models,
        num_clusters: status.num_clusters,
        embedder_ready: status.embedder_ready,
        journal_backlog_bytes: status.journal_backlog_bytes,
    })
}

/// Returns 200 while the control plane is up.
#[utoipa::path(get, path = "/healthz", responses((status = OK, body = String, content_type = "text/plain")))]
pub async fn healthz() -> &'static str {
    "ok"
}

/// Returns 200 once the control plane serves requests; it only starts to listen when it is ready.
#[utoipa::path(get, path = "/readyz", responses((status = OK, body = String, content_type = "text/plain")))]
pub async fn readyz() -> &'static str {
    "ok"
}
