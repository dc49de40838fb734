//! A record as a row of ClickHouse's. What is nothing is an empty text, or null for a number.

use clickhouse::Row;
use opentracy_translate::endpoint::Endpoint;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::store::{
    Attempt, Cost, Micros, Outcome, PicoUsd, Record, StoreError, Tokens, TraceError,
};

#[derive(Debug, Row, Serialize, Deserialize)]
pub struct TraceRow {
    pub place: i64,
    pub id: u128,
    pub started_at: i64,
    /// 0 as it came; grows whenever it is written anew.
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
    /// JSON; empty where there was none.
    pub decision: String,
    pub user: String,
    pub metadata: Vec<(String, String)>,
    pub traceparent: String,
    pub request: String,
    pub response: String,
    pub content_truncated: bool,
    pub words: String,
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

fn json(text: &Option<Box<RawValue>>) -> String {
    text.as_ref()
        .map_or_else(String::new, |json| json.get().to_owned())
}

impl TraceRow {
    pub fn new(record: &Record, words: String, version: u32) -> Self {
        let (tokens, cost) = (record.tokens, record.cost);
        let error = record.error.as_ref();
        Self {
            place: record.place().0,
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
            decision: record
                .decision
                .as_ref()
                .and_then(|decision| serde_json::to_string(decision).ok())
                .unwrap_or_default(),
            user: text(&record.user),
            metadata: record
                .metadata
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            traceparent: text(&record.traceparent),
            request: json(&record.request),
            response: json(&record.response),
            content_truncated: record.content_truncated,
            words,
        }
    }

    pub fn into_record(self) -> Result<Record, StoreError> {
        let raw = |json: String| -> Result<Option<Box<RawValue>>, StoreError> {
            if json.is_empty() {
                return Ok(None);
            }
            let raw = RawValue::from_string(json);
            raw.map(Some)
                .map_err(|error| StoreError::Unreadable(error.to_string()))
        };
        let api = Endpoint::named(&self.api);
        let outcome = Outcome::ALL
            .into_iter()
            .find(|outcome| outcome.name() == self.outcome);
        let money = |pico: Option<i64>| PicoUsd(pico.unwrap_or_default());
        Ok(Record {
            id: Uuid::from_u128(self.id),
            started_at: Micros(self.started_at),
            api: api.unwrap_or_default(),
            requested_model: self.requested_model,
            alias: some(self.alias),
            provider: some(self.provider),
            model: some(self.model),
            key: some(self.client_key),
            stream: self.stream,
            status: self.status,
            outcome: outcome.unwrap_or(Outcome::Completed),
            error: some(self.error_type).map(|r#type| TraceError {
                r#type,
                code: some(self.error_code),
                message: self.error_message,
            }),
            latency: Micros(self.latency_us),
            time_to_first_token: self.time_to_first_token_us.map(Micros),
            routing: Micros(self.routing_us),
            tokens: self.tokens_input.map(|input| Tokens {
                input,
                output: self.tokens_output.unwrap_or_default(),
                cache_read: self.tokens_cache_read.unwrap_or_default(),
                cache_write: self.tokens_cache_write.unwrap_or_default(),
                reasoning: self.tokens_reasoning.unwrap_or_default(),
            }),
            cost: self.cost_total.map(|total| Cost {
                input: money(self.cost_input),
                output: money(self.cost_output),
                cache_read: money(self.cost_cache_read),
                cache_write: money(self.cost_cache_write),
                total: PicoUsd(total),
            }),
            session_id: some(self.session_id),
            cluster_id: self.cluster_id,
            expected_error: self.expected_error,
            decision: serde_json::from_str(&self.decision).ok(),
            user: some(self.user),
            metadata: self.metadata.into_iter().collect(),
            traceparent: some(self.traceparent),
            request: raw(self.request)?,
            response: raw(self.response)?,
            content_truncated: self.content_truncated,
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
