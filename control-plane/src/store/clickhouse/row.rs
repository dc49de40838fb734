//! Records and attempts as ClickHouse rows. A missing text is empty, a missing number null.

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::{Attempt, Micros, Record, SortKey, StoreError};

#[derive(Debug, Row, Serialize)]
pub struct CallRow {
    pub place: i64,
    pub id: u128,
    pub started_at: i64,
    /// 0 when first stored; increases with each rewrite.
    pub version: u32,
    pub api: String,
    pub requested_model: String,
    pub alias: String,
    pub provider: String,
    pub model: String,
    pub client_key: String,
    pub stream: bool,
    pub status: u16,
    pub outcome: String,
    pub error_type: String,
    pub error_code: String,
    pub error_message: String,
    pub latency_us: i64,
    pub time_to_first_token_us: Option<i64>,
    pub routing_us: i64,
    pub tokens_input: Option<u64>,
    pub tokens_output: Option<u64>,
    pub tokens_cache_read: Option<u64>,
    pub tokens_cache_write: Option<u64>,
    pub tokens_reasoning: Option<u64>,
    pub cost_input: Option<i64>,
    pub cost_output: Option<i64>,
    pub cost_cache_read: Option<i64>,
    pub cost_cache_write: Option<i64>,
    pub cost_total: Option<i64>,
    pub session_id: String,
    pub cluster_id: Option<u32>,
    pub expected_error: Option<f64>,
    pub user: String,
    pub metadata: Vec<(String, String)>,
    pub words: String,
}

#[derive(Debug, Row, Serialize)]
pub struct BodyRow {
    pub place: i64,
    pub id: u128,
    pub started_at: i64,
    pub version: u32,
    /// JSON.
    pub record: String,
}

#[derive(Debug, Row, Serialize, Deserialize)]
pub struct AttemptRow {
    pub trace_id: u128,
    pub number: u32,
    pub started_at: i64,
    pub provider: String,
    pub model: String,
    pub status: u16,
    pub error: String,
    pub latency_us: i64,
}

fn text(text: &Option<String>) -> String {
    text.clone().unwrap_or_default()
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

impl CallRow {
    pub fn new(record: &Record, words: String, version: u32) -> Self {
        let (tokens, cost) = (record.tokens, record.cost);
        let error = record.error.as_ref();
        Self {
            place: SortKey::of_record(record).0,
            id: record.id.as_u128(),
            started_at: record.started_at.0,
            version,
            api: record.api.name().to_owned(),
            requested_model: record.requested_model.clone(),
            alias: text(&record.alias),
            provider: text(&record.provider),
            model: text(&record.model),
            client_key: text(&record.key),
            stream: record.stream,
            status: record.status,
            outcome: record.outcome.name().to_owned(),
            error_type: error.map_or_else(String::new, |error| error.r#type.clone()),
            error_code: error.map_or_else(String::new, |error| text(&error.code)),
            error_message: error.map_or_else(String::new, |error| error.message.clone()),
            latency_us: record.latency.0,
            time_to_first_token_us: record.time_to_first_token.map(|time| time.0),
            routing_us: record.routing.0,
            tokens_input: tokens.map(|tokens| tokens.input),
            tokens_output: tokens.map(|tokens| tokens.output),
            tokens_cache_read: tokens.map(|tokens| tokens.cache_read),
            tokens_cache_write: tokens.map(|tokens| tokens.cache_write),
            tokens_reasoning: tokens.map(|tokens| tokens.reasoning),
            cost_input: cost.map(|cost| cost.input.0),
            cost_output: cost.map(|cost| cost.output.0),
            cost_cache_read: cost.map(|cost| cost.cache_read.0),
            cost_cache_write: cost.map(|cost| cost.cache_write.0),
            cost_total: cost.map(|cost| cost.total.0),
            session_id: text(&record.session_id),
            cluster_id: record.cluster_id,
            expected_error: record.expected_error,
            user: text(&record.user),
            metadata: record
                .metadata
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            words,
        }
    }
}

impl BodyRow {
    pub fn new(record: &Record, version: u32) -> Result<Self, StoreError> {
        Ok(Self {
            place: SortKey::of_record(record).0,
            id: record.id.as_u128(),
            started_at: record.started_at.0,
            version,
            record: record.to_json().map_err(StoreError::unreadable)?,
        })
    }
}

impl From<Attempt> for AttemptRow {
    fn from(attempt: Attempt) -> Self {
        Self {
            trace_id: attempt.trace_id.as_u128(),
            number: attempt.number,
            started_at: attempt.started_at.0,
            provider: attempt.provider,
            model: attempt.model,
            status: attempt.status.unwrap_or_default(),
            error: attempt.error.unwrap_or_default(),
            latency_us: attempt.latency.0,
        }
    }
}

impl From<AttemptRow> for Attempt {
    fn from(row: AttemptRow) -> Self {
        Self {
            trace_id: Uuid::from_u128(row.trace_id),
            number: row.number,
            started_at: Micros(row.started_at),
            provider: row.provider,
            model: row.model,
            status: (row.status != 0).then_some(row.status),
            error: some(row.error),
            latency: Micros(row.latency_us),
        }
    }
}
