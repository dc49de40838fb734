//! The audit entries of actions.

use opentracy_state::AppState;
use opentracy_store::AuditEntry;

/// Writes an audit entry. A failure is logged, and the action stands.
pub async fn note(shared: &AppState, entry: AuditEntry) {
    tracing::info!(
        action = entry.action,
        subject = entry.subject,
        by = entry.actor,
        "audit entry"
    );
    if let Err(error) = shared.store.note(entry).await {
        tracing::error!("the audit entry can't be written: {error}");
    }
}
