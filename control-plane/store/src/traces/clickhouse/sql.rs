//! Names and numbers in SQL.

use crate::clickhouse::ClickHouse;

impl ClickHouse {
    pub(super) fn calls(&self) -> String {
        self.topology().table("calls")
    }
}

/// Formats an id as SQL text, because ClickHouse parses a bare literal of this size as a float.
pub fn number(id: u128) -> String {
    format!("'{id}'")
}

/// Formats an `IN` list. It takes numbers only, so that no client text gets into the SQL.
pub fn list(numbers: impl Iterator<Item = String>) -> String {
    numbers.collect::<Vec<_>>().join(", ")
}
