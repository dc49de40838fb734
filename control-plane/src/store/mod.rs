//! Trace storage in one SQLite file or in ClickHouse.
//!
//! Stores hold [`Record`]s and search them with a [`Filter`]; both give the same answers.

mod clickhouse;
pub mod command;
mod open;
mod query;
mod record;
mod sqlite;
mod watched;
mod wire;
pub mod words;

use async_trait::async_trait;
use opentracy_proto::v1;
use uuid::Uuid;

use crate::worker_thread::Stopped;

pub use clickhouse::ClickHouse;
pub use open::{migrate, open};
pub use query::{
    Actor, AuditEntry, Bounds, Cursor, Dimension, Filter, NoCursor, Order, Quantiles, Query, Stats,
    StatsQuery,
};
pub use record::{
    Attempt, Cost, Decision, Feedback, Micros, Outcome, PicoUsd, Record, SortKey, Tokens, Trace,
    TraceError,
};
pub use sqlite::Sqlite;

/// An error of a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the SQLite file failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the SQLite file can't be opened: {0}; run `opentracy store check` for details")]
    Unopened(String),
    #[error("ClickHouse failed: {0}")]
    ClickHouse(#[from] ::clickhouse::error::Error),
    #[error(
        "the tables are of a newer version of opentracy (schema {found}, this one supports {known}); update opentracy"
    )]
    Newer { found: u32, known: usize },
    #[error("a stored trace can't be read: {0}")]
    Unreadable(String),
    #[error("the store's thread stopped; restart the control plane")]
    Stopped,
}

impl StoreError {
    /// Returns `true` if a working store rejects the records because of their content, so that a
    /// retry can't succeed. Returns `false` if the store is unreachable, full or damaged.
    pub fn is_about_records(&self) -> bool {
        match self {
            Self::Sqlite(error) => sqlite::is_about_records(error),
            Self::ClickHouse(error) => clickhouse::is_about_records(error),
            Self::Unreadable(_) => true,
            Self::Unopened(_) | Self::Newer { .. } | Self::Stopped => false,
        }
    }

    /// Returns `true` if parts of a SQLite file are damaged.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Sqlite(error) if sqlite::is_damage(error))
            || matches!(self, Self::Unreadable(_))
    }

    fn unreadable(error: impl std::fmt::Display) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl From<Stopped> for StoreError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// Records and attempts to store.
#[derive(Debug, Default)]
pub struct Batch {
    pub records: Vec<(Record, Words)>,
    pub attempts: Vec<Attempt>,
}

/// The search terms of a record, separated by spaces.
pub type Words = String;

impl Batch {
    /// Adds the records and attempts of a request from the filter.
    pub fn add(&mut self, request: v1::IngestRequest) {
        self.records
            .extend(request.traces.into_iter().filter_map(wire::record));
        self.attempts
            .extend(request.attempts.into_iter().filter_map(wire::attempt));
    }
}

/// A page of traces.
#[derive(Debug, Default)]
pub struct Page {
    pub traces: Vec<Trace>,
    /// The cursor of the next page; `None` on the last page.
    pub next: Option<Cursor>,
}

/// A store of traces.
#[async_trait]
pub trait Store: Send + Sync {
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

    /// Stores feedback. For each trace and source, the last entry counts.
    async fn add_feedback(&self, feedback: Vec<Feedback>) -> Result<(), StoreError>;

    /// Returns feedback since a time, newest first.
    async fn feedback(&self, since: Micros, limit: u32) -> Result<Vec<Feedback>, StoreError>;

    async fn note(&self, entry: AuditEntry) -> Result<(), StoreError>;

    /// Returns the last `limit` entries, newest first.
    async fn audit(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;
}
