//! The store of traces in SQLite.

use async_trait::async_trait;
use uuid::Uuid;

use super::{body, delete, read, stats, write};
use crate::sqlite::Sqlite;
use crate::{
    Batch, Dimension, Filter, Micros, Page, PicoUsd, Query, Record, Stats, StatsQuery, StoreError,
    StoredTrace, TraceStore,
};
use write::Prepared;

#[async_trait]
impl TraceStore for Sqlite {
    async fn write(&self, batch: Batch) -> Result<Vec<Record>, StoreError> {
        let Batch { records, attempts } = batch;
        let packed = self.prepare(|| {
            let mut packer = body::Packer::new()?;
            let pack = |(record, words)| {
                Ok(Prepared {
                    body: packer.pack(&record)?,
                    record,
                    words,
                })
            };
            records
                .into_iter()
                .map(pack)
                .collect::<Result<Vec<_>, StoreError>>()
        });
        let records = packed.await??;
        self.write_with(move |connection, names| {
            write::batch(connection, names, records, &attempts)
        })
        .await
    }

    async fn list(&self, query: Query) -> Result<Page, StoreError> {
        self.read_with(move |connection| read::list(connection, &query))
            .await
    }

    async fn get(&self, id: Uuid) -> Result<Option<StoredTrace>, StoreError> {
        self.read_with(move |connection| read::get(connection, id))
            .await
    }

    async fn stats(&self, query: StatsQuery) -> Result<Vec<Stats>, StoreError> {
        self.read_with(move |connection| stats::stats(connection, &query))
            .await
    }

    async fn spent(
        &self,
        since: Micros,
        by: Dimension,
    ) -> Result<Vec<(String, PicoUsd)>, StoreError> {
        self.read_with(move |connection| stats::spent(connection, since, by))
            .await
    }

    async fn replace(&self, records: Vec<Record>) -> Result<(), StoreError> {
        self.write_with(move |connection, _| write::replace(connection, &records))
            .await
    }

    async fn delete(&self, filter: Filter) -> Result<u64, StoreError> {
        let schema = self.schema();
        self.write_with(move |connection, _| delete::matching(connection, schema, &filter))
            .await
    }

    async fn expire(&self, before: Micros) -> Result<(), StoreError> {
        let schema = self.schema();
        let filter = Filter {
            until: Some(before),
            ..Filter::default()
        };
        self.write_with(move |connection, _| {
            delete::matching(connection, schema, &filter)?;
            delete::expired(connection, schema, before)
        })
        .await
    }
}
