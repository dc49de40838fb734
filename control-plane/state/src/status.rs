//! The status of the control plane, for `/health` here and, through the filter, on the gateway's
//! listener.

use opentracy_proto::v1;

use crate::app_state::AppState;
use opentracy_base::health::HealthReason;
use opentracy_config::catalog::{self, PricedModel};
use opentracy_config::snapshot::ActiveConfig;

/// Returns the status: active faults and key figures.
pub fn of(shared: &AppState) -> v1::ControlPlaneStatus {
    let snapshot = shared.snapshot.borrow().clone();
    let active = shared.router.active();
    let reason = |reason: HealthReason| v1::HealthReason {
        component: reason.component.to_owned(),
        code: reason.code.to_owned(),
        message: reason.message,
        since: reason.since,
    };
    v1::ControlPlaneStatus {
        router_initialized: active.is_some(),
        num_models: callable_models(&snapshot).count() as u64,
        num_clusters: active.map_or(0, |active| active.pack.clusters.len() as u64),
        embedder_ready: shared.router.embedder().is_some(),
        journal_backlog_bytes: shared.ingest.backlog_bytes(),
        reasons: shared.health.reasons().into_iter().map(reason).collect(),
        access: snapshot.access().as_str().to_owned(),
    }
}

/// Returns the catalog's models whose provider has the key it needs.
pub fn callable_models(snapshot: &ActiveConfig) -> impl Iterator<Item = &'static PricedModel> {
    catalog::models()
        .iter()
        .filter(|model| snapshot.is_callable(&model.provider))
}
