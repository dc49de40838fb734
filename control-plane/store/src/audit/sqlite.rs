//! The table of the audit log.

use rusqlite::{Connection, params};

use crate::{AuditEntry, Micros, StoreError};

/// Appends an entry.
pub fn note(connection: &Connection, entry: &AuditEntry) -> Result<(), rusqlite::Error> {
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

/// Returns the last entries, newest first.
pub fn last(connection: &Connection, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
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
