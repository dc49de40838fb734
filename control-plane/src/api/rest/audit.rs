//! `GET /v1/audit`: what was done to traces, and by which request.

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::rest::error::Error;
use crate::api::rest::params;
use crate::state::AppState;
use crate::store::AuditEntry;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuditParams {
    /// How many entries: 1 to 1000, 100 without it.
    limit: Option<u32>,
}

#[derive(Serialize, ToSchema)]
pub struct Audit {
    /// Newest first.
    data: Vec<Entry>,
}

#[derive(Serialize, ToSchema)]
pub struct Entry {
    /// RFC 3339, UTC.
    at: String,
    action: String,
    /// The name of the key it was asked for with; empty where none was needed.
    actor: String,
    /// `X-Request-Id` of the request that asked for it.
    request_id: String,
    /// What it was done to.
    subject: String,
    /// How many traces.
    count: u64,
}

/// The last actions that changed or removed what was recorded.
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
        data: entries.into_iter().map(Entry::from).collect(),
    }))
}

/// Notes what was done. An audit that can't be written is in the log, and undoes nothing.
pub async fn note(shared: &AppState, entry: AuditEntry) {
    tracing::info!(
        action = entry.action,
        subject = entry.subject,
        by = entry.actor,
        "noted in the audit"
    );
    if let Err(error) = shared.store.note(entry).await {
        tracing::error!("the audit can't be written: {error}");
    }
}

impl From<AuditEntry> for Entry {
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
