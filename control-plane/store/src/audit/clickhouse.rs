//! The audit log.

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use crate::clickhouse::ClickHouse;
use crate::{AuditEntry, Micros, StoreError};

impl ClickHouse {
    pub(super) async fn add_note(&self, entry: AuditEntry) -> Result<(), StoreError> {
        let row = AuditRow {
            at: entry.at.0,
            action: entry.action,
            actor: entry.actor,
            request_id: entry.request_id,
            subject: entry.subject,
            count: entry.count,
        };
        self.insert("audit", &[row]).await
    }

    pub(super) async fn notes(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let sql = format!(
            "SELECT * FROM {} ORDER BY at DESC LIMIT {limit}",
            self.topology.table("audit")
        );
        let rows: Vec<AuditRow> = self.client.query(&sql).fetch_all().await?;
        Ok(rows
            .into_iter()
            .map(|row| AuditEntry {
                at: Micros(row.at),
                action: row.action,
                actor: row.actor,
                request_id: row.request_id,
                subject: row.subject,
                count: row.count,
            })
            .collect())
    }
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
