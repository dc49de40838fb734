//! The interface of the stores of traces.

use async_trait::async_trait;
use uuid::Uuid;

use crate::traces::batch::{Batch, Page};
use crate::traces::query::{Filter, Query, Stats, StatsQuery};
use crate::traces::record::StoredTrace;
use crate::{Dimension, Micros, PicoUsd, Record, StoreError};

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
    async fn get(&self, id: Uuid) -> Result<Option<StoredTrace>, StoreError>;

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

    /// Permanently deletes the traces that match a filter, with the rows of other resources that
    /// belong to them, and returns their number.
    async fn delete(&self, filter: Filter) -> Result<u64, StoreError>;

    /// Deletes traces that began before a time, and other rows that expire then; a no-op in stores
    /// that expire rows by themselves.
    async fn expire(&self, before: Micros) -> Result<(), StoreError>;
}
