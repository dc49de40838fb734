//! The interfaces of the stores, one for each kind of data.

use async_trait::async_trait;
use uuid::Uuid;

use crate::{
    AuditEntry, Batch, Dimension, Feedback, Filter, Micros, Page, PicoUsd, Query, Record, Stats,
    StatsQuery, StoreError, Trace,
};

/// Everything that the control plane stores.
pub trait Store: TraceStore + FeedbackStore + AuditLog {}

impl<T: TraceStore + FeedbackStore + AuditLog> Store for T {}

/// A store of traces.
#[async_trait]
pub trait TraceStore: Send + Sync {
    /// Stores a batch and returns those of its records that are new. On return, all of it is on
    /// disk. Idempotent: a record whose id is already stored is left unchanged, so a batch can be
    /// retried.
    async fn write(&self, batch: Batch) -> Result<Vec<Record>, StoreError>;

    /// Returns one page of the traces that match a query.
    async fn list(&self, query: Query) -> Result<Page, StoreError>;

    /// Returns one trace.
    async fn get(&self, id: Uuid) -> Result<Option<Trace>, StoreError>;

    /// Returns statistics by interval and group.
    async fn stats(&self, query: StatsQuery) -> Result<Vec<Stats>, StoreError>;

    /// Returns the spend since a full hour, for each value of a dimension.
    async fn spent(
        &self,
        since: Micros,
        by: Dimension,
    ) -> Result<Vec<(String, PicoUsd)>, StoreError>;

    /// Replaces stored records by those with the same ids.
    async fn replace(&self, records: Vec<Record>) -> Result<(), StoreError>;

    /// Permanently deletes the traces that match a filter and returns their number.
    async fn delete(&self, filter: Filter) -> Result<u64, StoreError>;

    /// Deletes traces that began before a time; a no-op in stores that expire rows by themselves.
    async fn expire(&self, before: Micros) -> Result<(), StoreError>;
}

/// A store of feedback on answers.
#[async_trait]
pub trait FeedbackStore: Send + Sync {
    /// Stores feedback. For each trace and source, the last entry counts.
    async fn add_feedback(&self, feedback: Vec<Feedback>) -> Result<(), StoreError>;

    /// Returns feedback since a time, newest first.
    async fn feedback(&self, since: Micros, limit: u32) -> Result<Vec<Feedback>, StoreError>;
}

/// The log of what people and programs changed.
#[async_trait]
pub trait AuditLog: Send + Sync {
    async fn note(&self, entry: AuditEntry) -> Result<(), StoreError>;

    /// Returns the last `limit` entries, newest first.
    async fn audit(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;
}
