//! Traces in ClickHouse, for those whom one machine is not enough.
//!
//! A record is a row of `calls`, by which it is found, and one of `bodies`, which has all of it. Before a batch is inserted,
//! those of its ids that are there are left out: one control plane never stores a record twice, however often it is given it.
//! Two that are given the same record in the same moment may; ClickHouse then merges the rows, and a page shows one of them.

mod audit;
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

use crate::config;
use crate::store::{
    AuditEntry, Batch, Dimension, Feedback, Filter, Micros, Page, PicoUsd, Query, Record, Stats,
    StatsQuery, Store, StoreError, Trace,
};
use schema::Topology;

/// ClickHouse's codes for values that it can't take: text that is no number, a value out of its type's range, a string that is
/// too long, data that is no row, an unknown element of an enum, a violated constraint.
const REFUSED_VALUES: [&str; 8] = ["6", "27", "69", "70", "117", "131", "469", "691"];

/// Returns `true` if ClickHouse, or its client, refuses rows for what is in them.
pub fn is_about_records(error: &clickhouse::error::Error) -> bool {
    use clickhouse::error::Error;
    match error {
        Error::BadResponse(message) => message
            .trim_start()
            .strip_prefix("Code: ")
            .and_then(|rest| rest.split_once('.'))
            .is_some_and(|(code, _)| REFUSED_VALUES.contains(&code)),
        Error::DataFormat(_) | Error::SequenceMustHaveLength | Error::InvalidUtf8Encoding(_) => {
            true
        }
        _ => false,
    }
}

pub struct ClickHouse {
    client: Client,
    topology: Topology,
    /// Set when the tables are those of this version.
    migrated: OnceCell<()>,
    /// Held by whoever writes traces, so that figures can be made anew without losing any.
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
            // A row is on its shard when an insert returns.
            client = client.with_setting("distributed_foreground_insert", "1");
        }
        Self {
            client,
            topology: Topology::new(config, retention_days),
            migrated: OnceCell::new(),
            writing: Mutex::new(()),
        }
    }

    /// Brings the tables to this version, once. A server that is away now is asked again with the next work.
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
            tracing::info!("ClickHouse has new tables: {}", migration.name);
        }
        for statement in self.topology.set_retention() {
            self.execute(&statement).await?;
        }
        Ok(())
    }

    async fn execute(&self, statement: &str) -> Result<(), StoreError> {
        // A question mark is a value's place to the client, unless it is doubled.
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

/// A number of an id's size, as a text: ClickHouse would take a bare one for an inexact one.
fn number(id: u128) -> String {
    format!("'{id}'")
}

/// For `IN`: numbers only, so that nothing of a caller's is among them.
fn list(numbers: impl Iterator<Item = String>) -> String {
    numbers.collect::<Vec<_>>().join(", ")
}

#[async_trait]
impl Store for ClickHouse {
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

    /// The tables' own TTL does this.
    async fn expire(&self, _: Micros) -> Result<(), StoreError> {
        Ok(())
    }

    async fn add_feedback(&self, feedback: Vec<Feedback>) -> Result<(), StoreError> {
        self.migrate().await?;
        self.keep_feedback(feedback).await
    }

    async fn feedback(&self, since: Micros, limit: u32) -> Result<Vec<Feedback>, StoreError> {
        self.migrate().await?;
        self.feedback_since(since, limit).await
    }

    async fn note(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.migrate().await?;
        self.add_note(entry).await
    }

    async fn audit(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.migrate().await?;
        self.notes(limit).await
    }
}
