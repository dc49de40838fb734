//! The audit log in ClickHouse.

use async_trait::async_trait;
use clickhouse::Row;
use serde::{Deserialize, Serialize};

use crate::audit::types::{AuditEntry, AuditLog};
use crate::clickhouse::{ClickHouse, Table, Tables};
use crate::{Micros, StoreError};

pub const TABLES: Tables = Tables {
    // The history creates the table and its column `actor`.
    steps: &[],
    tables: &[&AUDIT],
};

pub const AUDIT: Table = Table {
    name: "audit",
    columns: "
    at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    action LowCardinality(String),
    request_id String,
    subject String,
    count UInt64",
    engine: ("MergeTree", ""),
    order: "at",
    partition: None,
    ages_by: None,
    shard_by: "rand()",
    settings: None,
    trace_id: None,
    is_derived: false,
};

#[async_trait]
impl AuditLog for ClickHouse {
    async fn note(&self, entry: AuditEntry) -> Result<(), StoreError> {
        let rows = [AuditRow::from(entry)];
        self.write_with(self.insert(AUDIT.name, &rows)).await
    }

    async fn audit(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.read_with(last(self, limit)).await
    }
}

async fn last(store: &ClickHouse, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
    let sql = format!(
        "SELECT * FROM {} ORDER BY at DESC LIMIT {limit}",
        store.topology().table(AUDIT.name)
    );
    let rows: Vec<AuditRow> = store.client().query(&sql).fetch_all().await?;
    Ok(rows.into_iter().map(AuditEntry::from).collect())
}

#[derive(Row, Serialize, Deserialize)]
struct AuditRow {
    at: i64,
    action: String,
    request_id: String,
    subject: String,
    count: u64,
    actor: String,
}

impl From<AuditEntry> for AuditRow {
    fn from(entry: AuditEntry) -> Self {
        Self {
            at: entry.at.0,
            action: entry.action,
            request_id: entry.request_id,
            subject: entry.subject,
            count: entry.count,
            actor: entry.actor,
        }
    }
}

impl From<AuditRow> for AuditEntry {
    fn from(row: AuditRow) -> Self {
        Self {
            at: Micros(row.at),
            action: row.action,
            actor: row.actor,
            request_id: row.request_id,
            subject: row.subject,
            count: row.count,
        }
    }
}
