//! The store of traces in ClickHouse.

use async_trait::async_trait;
use uuid::Uuid;

use crate::clickhouse::ClickHouse;
use crate::{
    Batch, Dimension, Filter, Micros, Page, PicoUsd, Query, Record, Stats, StatsQuery, StoreError,
    StoredTrace, TraceStore,
};

#[async_trait]
impl TraceStore for ClickHouse {
    async fn write(&self, batch: Batch) -> Result<Vec<Record>, StoreError> {
        self.write_with(self.insert_batch(batch)).await
    }

    async fn list(&self, query: Query) -> Result<Page, StoreError> {
        self.read_with(self.page(query)).await
    }

    async fn get(&self, id: Uuid) -> Result<Option<StoredTrace>, StoreError> {
        self.read_with(self.one(id)).await
    }

    async fn stats(&self, query: StatsQuery) -> Result<Vec<Stats>, StoreError> {
        self.read_with(self.figures(query)).await
    }

    async fn spent(
        &self,
        since: Micros,
        by: Dimension,
    ) -> Result<Vec<(String, PicoUsd)>, StoreError> {
        self.read_with(self.spending(since, by)).await
    }

    async fn replace(&self, records: Vec<Record>) -> Result<(), StoreError> {
        self.write_with(self.put(records)).await
    }

    async fn delete(&self, filter: Filter) -> Result<u64, StoreError> {
        self.write_with(self.remove(filter)).await
    }

    /// The tables' own TTL expires rows.
    async fn expire(&self, _: Micros) -> Result<(), StoreError> {
        Ok(())
    }
}
