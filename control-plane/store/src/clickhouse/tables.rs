//! The description of a resource's tables in ClickHouse.

use crate::clickhouse::table::Table;
use crate::clickhouse::topology::Topology;

/// The tables of one resource, and the steps that create and change them.
#[derive(Debug)]
pub struct Tables {
    /// The resource's own migrations. A database records the number of those applied, so the
    /// statements of a released step never change; append another step instead.
    pub steps: &'static [Step],
    /// The tables, in the order in which they are checked and counted.
    pub tables: &'static [&'static Table],
}

/// A migration of a resource's tables to their next version. One that was interrupted runs again.
#[derive(Debug)]
pub struct Step {
    pub name: &'static str,
    pub statements: fn(&Topology) -> Vec<String>,
}
