//! Feedback in SQLite.

use async_trait::async_trait;
use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::feedback::types::{Feedback, FeedbackStore};
use crate::sqlite::{Sqlite, Table, Tables};
use crate::{Micros, StoreError};

pub const TABLES: Tables = Tables {
    // The history's second step creates the table.
    steps: &[],
    tables: &[Table {
        name: "feedback",
        trace_id: Some("trace_id"),
        ages_by: None,
        rescued_as: Some("feedback entries"),
    }],
};

#[async_trait]
impl FeedbackStore for Sqlite {
    async fn add_feedback(&self, feedback: Vec<Feedback>) -> Result<(), StoreError> {
        self.write_with(move |connection, _| add(connection, &feedback))
            .await
    }

    async fn feedback(&self, since: Micros, limit: u32) -> Result<Vec<Feedback>, StoreError> {
        self.read_with(move |connection| list(connection, since, limit))
            .await
    }
}

fn add(connection: &mut Connection, feedback: &[Feedback]) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction()?;
    for each in feedback {
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO feedback (trace_id, source, at, error) VALUES (?, ?, ?, ?)",
            )?
            .execute(params![
                each.trace_id.as_bytes(),
                each.source,
                each.at.0,
                each.error
            ])?;
    }
    transaction.commit()
}

fn list(connection: &Connection, since: Micros, limit: u32) -> Result<Vec<Feedback>, StoreError> {
    let feedback = connection
        .prepare_cached(
            "SELECT trace_id, source, at, error FROM feedback WHERE at >= ?
                ORDER BY at DESC, trace_id, source LIMIT ?",
        )?
        .query_map(params![since.0, limit], |row| {
            Ok(Feedback {
                trace_id: Uuid::from_bytes(row.get(0)?),
                source: row.get(1)?,
                at: Micros(row.get(2)?),
                error: row.get(3)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(feedback)
}
