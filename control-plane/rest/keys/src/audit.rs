//! `GET /v1/audit`: the log of administrative actions, with the request that caused each.

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use opentracy_rest::endpoints::{Callers, Endpoints};
use opentracy_rest::error::Error;
use opentracy_rest::params;
use opentracy_state::AppState;
use opentracy_store::AuditEntry;

/// Registers the endpoints of this file.
pub fn endpoints() -> Endpoints {
    Endpoints::of(Callers::Admins).routes(routes!(list))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuditParams {
    /// Number of entries: 1 to 1000, default 100.
    limit: Option<u32>,
}

#[derive(Serialize, ToSchema)]
pub struct Audit {
    /// Newest first.
    data: Vec<AuditView>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Entry)]
pub struct AuditView {
    /// RFC 3339, UTC.
    at: String,
    action: String,
    /// The name of the caller's key; empty if none was needed.
    actor: String,
    /// `X-Request-Id` of the request.
    request_id: String,
    /// The object of the action.
    subject: String,
    /// Number of traces affected.
    count: u64,
}

/// Lists the most recent actions that changed or removed recorded data.
#[utoipa::path(
    get,
    path = "/v1/audit",
    params(AuditParams),
    responses((status = OK, body = Audit))
)]
pub async fn list(
    State(shared): State<AppState>,
    Query(AuditParams { limit }): Query<AuditParams>,
) -> Result<Json<Audit>, Error> {
    let entries = shared.store.audit(params::limit(limit, 100, 1000)?).await?;
    Ok(Json(Audit {
        data: entries.into_iter().map(AuditView::from).collect(),
    }))
}

impl From<AuditEntry> for AuditView {
    fn from(entry: AuditEntry) -> Self {
        Self {
            at: entry.at.timestamp(),
            action: entry.action,
            actor: entry.actor,
            request_id: entry.request_id,
            subject: entry.subject,
            count: entry.count,
        }
    }
}
