//! Feedback on answers.

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clickhouse::ClickHouse;
use crate::{Feedback, Micros, StoreError};

impl ClickHouse {
    pub(super) async fn keep_feedback(&self, feedback: Vec<Feedback>) -> Result<(), StoreError> {
        let rows: Vec<FeedbackRow> = feedback.into_iter().map(FeedbackRow::from).collect();
        self.insert("feedback", &rows).await
    }

    pub(super) async fn feedback_since(
        &self,
        since: Micros,
        limit: u32,
    ) -> Result<Vec<Feedback>, StoreError> {
        // There is little feedback, so `FINAL` is affordable; it keeps each source's last entry.
        let sql = format!(
            "SELECT trace_id, source, at, error FROM {} FINAL WHERE at >= fromUnixTimestamp64Micro({})
                ORDER BY at DESC, trace_id, source LIMIT {limit}",
            self.topology.table("feedback"),
            since.0
        );
        let rows: Vec<FeedbackRow> = self.client.query(&sql).fetch_all().await?;
        Ok(rows.into_iter().map(Feedback::from).collect())
    }
}

#[derive(Row, Serialize, Deserialize)]
struct FeedbackRow {
    trace_id: u128,
    source: String,
    at: i64,
    error: f64,
}

impl From<Feedback> for FeedbackRow {
    fn from(feedback: Feedback) -> Self {
        Self {
            trace_id: feedback.trace_id.as_u128(),
            source: feedback.source,
            at: feedback.at.0,
            error: feedback.error,
        }
    }
}

impl From<FeedbackRow> for Feedback {
    fn from(row: FeedbackRow) -> Self {
        Self {
            trace_id: Uuid::from_u128(row.trace_id),
            source: row.source,
            at: Micros(row.at),
            error: row.error,
        }
    }
}
