//! The audit log.

pub(super) mod clickhouse;
mod sqlite;
mod types;

use crate::resource::Resource;

pub use types::{Actor, AuditEntry, AuditLog};

pub(super) const RESOURCE: Resource = Resource {
    name: "audit",
    sqlite: sqlite::TABLES,
    clickhouse: clickhouse::TABLES,
};
