//! Trace storage in one SQLite file or in ClickHouse.
//!
//! Stores hold [`Record`]s and search them with a [`Filter`]; both give the same answers.

mod clickhouse;
pub mod command;
mod open;
mod query;
mod record;
mod sqlite;
mod traits;
mod watched;
mod wire;
pub mod words;

use opentracy_proto::v1;

use opentracy_base::worker_thread::Stopped;

pub use clickhouse::ClickHouse;
pub use open::{migrate, open};
pub use opentracy_trace::columns::Dimension;
pub use opentracy_trace::{Attempt, Cost, Micros, Outcome, PicoUsd, Record, Tokens};
pub use query::{
    Actor, AuditEntry, Bounds, Cursor, Filter, NoCursor, Order, Quantiles, Query, Stats, StatsQuery,
};
pub use record::{Feedback, SortKey, Trace};
pub use sqlite::Sqlite;
pub use traits::{AuditLog, FeedbackStore, Store, TraceStore};

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
        self.attempts.extend(
            request
                .attempts
                .into_iter()
                .filter_map(Attempt::from_message),
        );
    }
}

/// A page of traces.
#[derive(Debug, Default)]
pub struct Page {
    pub traces: Vec<Trace>,
    /// The cursor of the next page; `None` on the last page.
    pub next: Option<Cursor>,
}
