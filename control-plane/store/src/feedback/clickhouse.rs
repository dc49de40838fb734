//! Feedback in ClickHouse.

use async_trait::async_trait;
use clickhouse::Row;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clickhouse::{ClickHouse, Table, Tables};
use crate::feedback::types::{Feedback, FeedbackStore};
use crate::{Micros, StoreError};

pub const TABLES: Tables = Tables {
    // The history creates the table.
    steps: &[],
    tables: &[&FEEDBACK],
};

pub const FEEDBACK: Table = Table {
    name: "feedback",
    columns: "
    trace_id UInt128 CODEC(ZSTD(1)),
    source LowCardinality(String),
    at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    error Float64",
    engine: ("ReplacingMergeTree", "at"),
    order: "(trace_id, source)",
    partition: None,
    ages_by: Some("at"),
    shard_by: "cityHash64(trace_id)",
    settings: None,
    trace_id: Some("trace_id"),
    is_derived: false,
};

#[async_trait]
impl FeedbackStore for ClickHouse {
    async fn add_feedback(&self, feedback: Vec<Feedback>) -> Result<(), StoreError> {
        let rows: Vec<FeedbackRow> = feedback.into_iter().map(FeedbackRow::from).collect();
        self.write_with(self.insert(FEEDBACK.name, &rows)).await
    }

    async fn feedback(&self, since: Micros, limit: u32) -> Result<Vec<Feedback>, StoreError> {
        self.read_with(list(self, since, limit)).await
    }
}

async fn list(store: &ClickHouse, since: Micros, limit: u32) -> Result<Vec<Feedback>, StoreError> {
    // There is little feedback, so `FINAL` is affordable; it keeps each source's last entry.
    let sql = format!(
        "SELECT trace_id, source, at, error FROM {} FINAL WHERE at >= fromUnixTimestamp64Micro({})
            ORDER BY at DESC, trace_id, source LIMIT {limit}",
        store.topology().table(FEEDBACK.name),
        since.0
    );
    let rows: Vec<FeedbackRow> = store.client().query(&sql).fetch_all().await?;
    Ok(rows.into_iter().map(Feedback::from).collect())
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
