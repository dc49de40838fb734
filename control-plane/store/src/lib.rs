//! Trace storage in one SQLite file or in ClickHouse.
//!
//! Stores hold [`Record`]s and search them with a [`Filter`]; both give the same answers.
//! [`open()`] returns the one that the configuration names, and [`command`] is `opentracy store`.

mod batch;
mod clickhouse;
pub mod command;
mod error;
mod open;
mod query;
mod record;
mod sqlite;
mod traits;
mod watched;
mod wire;
pub mod words;

pub use batch::{Batch, Page, Words};
pub use clickhouse::ClickHouse;
pub use error::StoreError;
pub use open::{migrate, open};
pub use opentracy_trace::columns::Dimension;
pub use opentracy_trace::{Attempt, Cost, Micros, Outcome, PicoUsd, Record, Tokens};
pub use query::{
    Actor, AuditEntry, Bounds, Cursor, Filter, NoCursor, Order, Quantiles, Query, Stats, StatsQuery,
};
pub use record::{Feedback, SortKey, Trace};
pub use sqlite::Sqlite;
pub use traits::{AuditLog, FeedbackStore, Store, TraceStore};
