//! Trace storage in ClickHouse, for loads beyond one machine.
//!
//! A record is a row of `calls`, which is searched, and a row of `bodies`, which holds all of it.
//! Before an insert, records whose ids are already stored are dropped from the batch, so that
//! writes from one control plane are idempotent. Two control planes that write the same record at
//! the same moment can both store it; ClickHouse later merges the rows, and a page shows only one
//! of them.

mod audit;
pub(super) mod fault;
mod feedback;
mod filter;
mod inspect;
mod migrations;
mod read;
mod row;
mod schema;
mod stats;
mod tables;
mod write;

use async_trait::async_trait;
use clickhouse::{Client, Compression, Row};
use serde::Serialize;
use tokio::sync::{Mutex, OnceCell};
use uuid::Uuid;

use crate::{
    AuditEntry, AuditLog, Batch, Dimension, Feedback, FeedbackStore, Filter, Micros, Page, PicoUsd,
    Query, Record, Stats, StatsQuery, StoreError, Trace, TraceStore,
};
use opentracy_config as config;
use schema::Topology;

pub struct ClickHouse {
    client: Client,
    topology: Topology,
    /// Set once the tables are at this version.
    migrated: OnceCell<()>,
    /// Held while traces are written, so that statistics can be recomputed without losing any.
    writing: Mutex<()>,
}

impl ClickHouse {
    pub fn new(config: &config::ClickHouse, password: Option<&str>, retention_days: u64) -> Self {
        let mut client = Client::default()
            .with_url(config.url.as_str())
            .with_compression(match config.compression {
                config::Compression::None => Compression::None,
                config::Compression::Lz4 => Compression::Lz4,
            });
        if let Some(user) = &config.user {
            client = client.with_user(user);
        }
        if let Some(password) = password {
            client = client.with_password(password);
        }
        if config.cluster.is_some() {
            // Inserts return only after the row has reached its shard.
            client = client.with_setting("distributed_foreground_insert", "1");
        }
        Self {
            client,
            topology: Topology::new(config, retention_days),
            migrated: OnceCell::new(),
            writing: Mutex::new(()),
        }
    }

    /// Migrates the tables to this version, once. If the server is unreachable, the next operation
    /// tries again.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.migrated.get_or_try_init(|| self.take_steps()).await?;
        Ok(())
    }

    async fn take_steps(&self) -> Result<(), StoreError> {
        for statement in self.topology.foundation() {
            self.execute(&statement).await?;
        }
        let versions = self.topology.table("schema_migrations");
        let applied: u32 = self
            .client
            .query(&format!("SELECT max(version) FROM {versions}"))
            .fetch_one()
            .await?;
        let migrations = self.topology.migrations();
        if applied as usize > migrations.len() {
            return Err(StoreError::Newer {
                found: applied,
                known: migrations.len(),
            });
        }
        for (index, migration) in migrations.iter().enumerate().skip(applied as usize) {
            for statement in &migration.statements {
                self.execute(statement).await?;
            }
            let sql = format!("INSERT INTO {versions} (version, name) VALUES (?, ?)");
            let note = self.client.query(&sql).bind(index + 1);
            note.bind(migration.name).execute().await?;
            tracing::info!("migrated ClickHouse: {}", migration.name);
        }
        for statement in self.topology.set_retention() {
            self.execute(&statement).await?;
        }
        Ok(())
    }

    async fn execute(&self, statement: &str) -> Result<(), StoreError> {
        // The client reads a question mark as a placeholder unless it is doubled.
        let query = self.client.query(&statement.replace('?', "??"));
        Ok(query.execute().await?)
    }

    fn calls(&self) -> String {
        self.topology.table("calls")
    }

    async fn insert<R>(&self, table: &str, rows: &[R]) -> Result<(), StoreError>
    where
        R: Row + for<'a> clickhouse::RowWrite<Value<'a> = R> + Serialize,
    {
        if rows.is_empty() {
            return Ok(());
        }
        let mut insert = self
            .client
            .insert_unescaped::<R>(&self.topology.table(table))
            .await?;
        for row in rows {
            insert.write(row).await?;
        }
        Ok(insert.end().await?)
    }
}

/// Formats an id as SQL text, because ClickHouse parses a bare literal of this size as a float.
fn number(id: u128) -> String {
    format!("'{id}'")
}

/// Formats an `IN` list. It takes numbers only, so that no client text gets into the SQL.
fn list(numbers: impl Iterator<Item = String>) -> String {
    numbers.collect::<Vec<_>>().join(", ")
}

#[async_trait]
impl TraceStore for ClickHouse {
    async fn write(&self, batch: Batch) -> Result<Vec<Record>, StoreError> {
        self.migrate().await?;
        self.insert_batch(batch).await
    }

    async fn list(&self, query: Query) -> Result<Page, StoreError> {
        self.migrate().await?;
        self.page(query).await
    }

    async fn get(&self, id: Uuid) -> Result<Option<Trace>, StoreError> {
        self.migrate().await?;
        self.one(id).await
    }

    async fn stats(&self, query: StatsQuery) -> Result<Vec<Stats>, StoreError> {
        self.migrate().await?;
        self.figures(query).await
    }

    async fn spent(
        &self,
        since: Micros,
        by: Dimension,
    ) -> Result<Vec<(String, PicoUsd)>, StoreError> {
        self.migrate().await?;
        self.spending(since, by).await
    }

    async fn replace(&self, records: Vec<Record>) -> Result<(), StoreError> {
        self.migrate().await?;
        self.put(records).await
    }

    async fn delete(&self, filter: Filter) -> Result<u64, StoreError> {
        self.migrate().await?;
        self.remove(filter).await
    }

    /// The tables' own TTL expires rows.
    async fn expire(&self, _: Micros) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl FeedbackStore for ClickHouse {
    async fn add_feedback(&self, feedback: Vec<Feedback>) -> Result<(), StoreError> {
        self.migrate().await?;
        self.keep_feedback(feedback).await
    }

    async fn feedback(&self, since: Micros, limit: u32) -> Result<Vec<Feedback>, StoreError> {
        self.migrate().await?;
        self.feedback_since(since, limit).await
    }
}

#[async_trait]
impl AuditLog for ClickHouse {
    async fn note(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.migrate().await?;
        self.add_note(entry).await
    }

    async fn audit(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.migrate().await?;
        self.notes(limit).await
    }
}
