//! Traces: calls with their attempts, and the words that they are searched by.

mod batch;
pub(super) mod clickhouse;
mod query;
mod record;
pub(super) mod sqlite;
mod trace_store;
mod wire;
pub mod words;

use crate::resource::Resource;

pub use batch::{Batch, Page, Words};
pub use query::{Bounds, Cursor, Filter, NoCursor, Order, Quantiles, Query, Stats, StatsQuery};
pub use record::{SortKey, StoredTrace};
pub use trace_store::TraceStore;

pub(super) const RESOURCE: Resource = Resource {
    name: "traces",
    sqlite: sqlite::TABLES,
    clickhouse: clickhouse::TABLES,
};
