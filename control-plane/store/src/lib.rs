//! Storage of the control plane's data in one SQLite file or in ClickHouse; both give the same
//! answers.
//!
//! Each resource is a folder with its types, the trait of its stores, and its tables and statements
//! for either store. `sqlite` and `clickhouse` are the two databases, which know no resource.
//! [`open()`] returns the one that the configuration names, and [`command`] is `opentracy store`.

pub mod audit;
mod clickhouse;
pub mod command;
mod error;
pub mod feedback;
mod history;
mod open;
mod resource;
mod sqlite;
pub mod traces;
mod watch;

pub use clickhouse::ClickHouse;
pub use error::StoreError;
pub use open::{migrate, open};
pub use opentracy_trace::columns::Dimension;
pub use opentracy_trace::{Attempt, Cost, Micros, Outcome, PicoUsd, Record, Tokens};
pub use sqlite::Sqlite;

pub use audit::{Actor, AuditEntry, AuditLog};
pub use feedback::{Feedback, FeedbackStore};
pub use traces::{
    Batch, Bounds, Cursor, Filter, NoCursor, Order, Page, Quantiles, Query, SortKey, Stats,
    StatsQuery, StoredTrace, TraceStore, Words, words,
};

resource::resources! {
    traces: TraceStore,
    feedback: FeedbackStore,
    audit: AuditLog,
}
