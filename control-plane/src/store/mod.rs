//! Where traces live: in one SQLite file, or in ClickHouse.
//!
//! What can be stored is a [`Record`], what can be asked a [`Filter`]; both stores give the same answers.

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
    AuditEntry, Bounds, By, Cursor, Dimension, Filter, NoCursor, Order, Quantiles, Query, Stats,
    StatsQuery,
};
pub use record::{
    Attempt, Cost, Decision, Feedback, Micros, Outcome, PicoUsd, Place, Record, Tokens, Trace,
    TraceError,
};
pub use sqlite::Sqlite;

/// What went wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the SQLite file failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error(
        "the SQLite file can't be opened: {0}; `opentracy store check` says what is wrong with it"
    )]
    Unopened(String),
    #[error("ClickHouse failed: {0}")]
    ClickHouse(#[from] ::clickhouse::error::Error),
    #[error(
        "the tables are of a newer version of opentracy ({found}, this one knows {known}); update opentracy"
    )]
    Newer { found: u32, known: usize },
    #[error("a stored trace can't be read: {0}")]
    Unreadable(String),
    #[error("the store's thread has stopped; restart the control plane")]
    Stopped,
}

impl StoreError {
    /// Returns `true` if a working store refuses the records for what they are, so that trying again changes nothing. A store that
    /// is away, full or damaged is none of the records' fault.
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

/// Records to be kept.
#[derive(Debug, Default)]
pub struct Batch {
    pub records: Vec<(Record, Words)>,
    pub attempts: Vec<Attempt>,
}

/// The words that a record is found by.
pub type Words = String;

impl Batch {
    /// Adds what the filter has sent.
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
    /// Where the next page begins; `None` on the last.
    pub next: Option<Cursor>,
}

/// A store of traces.
#[async_trait]
pub trait Store: Send + Sync {
    /// Keeps a batch, and gives back those of its records that are new. When this returns, all of it is on disk. A record whose
    /// id is there already is left as it is, so that a batch may be given again.
    async fn write(&self, batch: Batch) -> Result<Vec<Record>, StoreError>;

    /// The traces that a query is after, a page at a time.
    async fn list(&self, query: Query) -> Result<Page, StoreError>;

    /// One trace.
    async fn get(&self, id: Uuid) -> Result<Option<Trace>, StoreError>;

    /// Figures, by start and group.
    async fn stats(&self, query: StatsQuery) -> Result<Vec<Stats>, StoreError>;

    /// What was spent since a full hour, for each value of a dimension.
    async fn spent(
        &self,
        since: Micros,
        by: Dimension,
    ) -> Result<Vec<(String, PicoUsd)>, StoreError>;

    /// Puts records in the place of those with their ids.
    async fn replace(&self, records: Vec<Record>) -> Result<(), StoreError>;

    /// Removes traces for good, and says how many.
    async fn delete(&self, filter: Filter) -> Result<u64, StoreError>;

    /// Removes what began before a time. A store that does this by itself has nothing to do.
    async fn expire(&self, before: Micros) -> Result<(), StoreError>;

    /// Keeps what was thought of answers. The last word of a source on a trace is the one that counts.
    async fn add_feedback(&self, feedback: Vec<Feedback>) -> Result<(), StoreError>;

    /// What was thought since a time, newest first.
    async fn feedback(&self, since: Micros, limit: u32) -> Result<Vec<Feedback>, StoreError>;

    async fn note(&self, entry: AuditEntry) -> Result<(), StoreError>;

    /// The last so many, newest first.
    async fn audit(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;
}
