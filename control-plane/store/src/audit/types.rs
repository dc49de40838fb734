//! Entries of the audit log, and the interface of its stores.

use async_trait::async_trait;

use crate::{Micros, StoreError};
use opentracy_base::clock;

/// One entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    pub at: Micros,
    pub action: String,
    /// The name of the key that authorized the request; empty if no key was needed.
    pub actor: String,
    /// The id of the request that caused the action.
    pub request_id: String,
    /// The subject of the action, in human-readable form.
    pub subject: String,
    /// The number of traces that were affected.
    pub count: u64,
}

/// The actor of an action, and the id of its request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actor {
    pub actor: String,
    pub request_id: String,
}

impl AuditEntry {
    /// Creates an entry with the current time.
    pub fn new(
        action: impl Into<String>,
        by: Actor,
        subject: impl Into<String>,
        count: u64,
    ) -> Self {
        Self {
            at: clock::now(),
            action: action.into(),
            actor: by.actor,
            request_id: by.request_id,
            subject: subject.into(),
            count,
        }
    }
}

/// The log of what people and programs changed.
#[async_trait]
pub trait AuditLog: Send + Sync {
    async fn note(&self, entry: AuditEntry) -> Result<(), StoreError>;

    /// Returns the last `limit` entries, newest first.
    async fn audit(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;
}
