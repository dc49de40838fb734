//! The audit log in SQLite.

use async_trait::async_trait;
use rusqlite::{Connection, params};

use crate::audit::types::{AuditEntry, AuditLog};
use crate::sqlite::{Sqlite, Table, Tables};
use crate::{Micros, StoreError};

pub const TABLES: Tables = Tables {
    // The history's first and third steps create the table.
    steps: &[],
    tables: &[Table {
        name: "audit",
        trace_id: None,
        ages_by: None,
        rescued_as: Some("audit entries"),
    }],
};

#[async_trait]
impl AuditLog for Sqlite {
    async fn note(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.write_with(move |connection, _| append(connection, &entry))
            .await
    }

    async fn audit(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.read_with(move |connection| last(connection, limit))
            .await
    }
}

fn append(connection: &Connection, entry: &AuditEntry) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached(
            "INSERT INTO audit (at, action, request_id, subject, count, actor) VALUES (?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            entry.at.0,
            entry.action,
            entry.request_id,
            entry.subject,
            i64::try_from(entry.count).unwrap_or(i64::MAX),
            entry.actor,
        ])?;
    Ok(())
}

fn last(connection: &Connection, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
    let entries = connection
        .prepare_cached(
            "SELECT at, action, request_id, subject, count, actor FROM audit ORDER BY rowid DESC LIMIT ?",
        )?
        .query_map([limit], |row| {
            Ok(AuditEntry {
                at: Micros(row.get(0)?),
                action: row.get(1)?,
                request_id: row.get(2)?,
                subject: row.get(3)?,
                count: row.get::<_, i64>(4)?.unsigned_abs(),
                actor: row.get(5)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(entries)
}
