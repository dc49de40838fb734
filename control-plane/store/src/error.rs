//! The errors of stores.

use opentracy_base::worker_thread::StoppedThread;

use crate::{clickhouse, sqlite};

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
    #[error(
        "the tables of `{resource}` are of a newer version of opentracy (version {found}, this one supports {known}); update opentracy"
    )]
    NewerResource {
        resource: String,
        found: u32,
        known: usize,
    },
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
            Self::Unopened(_) | Self::Newer { .. } | Self::NewerResource { .. } | Self::Stopped => {
                false
            }
        }
    }

    /// Returns `true` if parts of a SQLite file are damaged.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Sqlite(error) if sqlite::is_damage(error))
            || matches!(self, Self::Unreadable(_))
    }

    pub(crate) fn unreadable(error: impl std::fmt::Display) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl From<StoppedThread> for StoreError {
    fn from(_: StoppedThread) -> Self {
        Self::Stopped
    }
}
