//! The migrations from before each resource had its own. They are complete: databases of released
//! versions were created by them, so they never change, and none is added.

mod clickhouse;
mod sqlite;

use crate::RESOURCES;

/// The tables in SQLite.
pub static SQLITE: crate::sqlite::Schema = crate::sqlite::Schema {
    history: sqlite::STEPS,
    resources: RESOURCES,
};

/// The tables in ClickHouse.
pub static CLICKHOUSE: crate::clickhouse::Schema = crate::clickhouse::Schema {
    history: clickhouse::migrations,
    resources: RESOURCES,
};
