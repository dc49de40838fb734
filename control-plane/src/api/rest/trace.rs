//! The JSON form of a trace.

use std::collections::BTreeMap;

use opentracy_translate::endpoint::Endpoint;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::store::{self, Decision, Micros, Outcome, Record, Tokens, TraceError};

/// One call of a client.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Trace {
    pub id: Uuid,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// The endpoint: `chat_completions`, `messages`, `responses`, `embeddings`, …
    #[schema(value_type = String)]
    #[serde(default)]
    pub api: Endpoint,
    /// The model or alias that the client requested.
    #[serde(default)]
    pub requested_model: String,
    pub alias: Option<String>,
    pub provider: Option<String>,
    pub model: Option<String>,
    /// The name of the client's key.
    pub key: Option<String>,
    #[serde(default)]
    pub stream: bool,
    /// The HTTP status that the client got; 0 if it disconnected before there was one.
    pub status: u16,
    pub outcome: Outcome,
    pub error: Option<TraceError>,
    pub latency_ms: f64,
    pub time_to_first_token_ms: Option<f64>,
    #[serde(default)]
    pub routing_ms: f64,
    pub tokens: Option<Tokens>,
    /// `null` if a price is unknown.
    pub cost: Option<Cost>,
    pub session_id: Option<String>,
    pub cluster_id: Option<u32>,
    pub expected_error: Option<f64>,
    /// The router's decision; `null` if the client named the model.
    pub decision: Option<Decision>,
    pub user: Option<String>,
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// W3C Trace Context, as received.
    pub traceparent: Option<String>,
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// The request's messages and parameters; `null` if content is not recorded.
    #[schema(value_type = Option<Object>)]
    pub request: Option<Box<RawValue>>,
    /// The response in the client's API format, reassembled if it was streamed.
    #[schema(value_type = Option<Object>)]
    pub response: Option<Box<RawValue>>,
    #[serde(default)]
    pub content_truncated: bool,
}

/// USD. Cached tokens are not in `input`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cost {
    pub input: f64,
    pub output: f64,
    #[serde(default)]
    pub cache_read: f64,
    #[serde(default)]
    pub cache_write: f64,
    pub total: f64,
}

/// One call to one provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// 1 is the first.
    pub number: u32,
    pub provider: String,
    pub model: String,
    /// `null` if the provider sent no response.
    pub status: Option<u16>,
    /// The error, as an identifier.
    pub error: Option<String>,
    pub latency_ms: f64,
}

impl From<store::Trace> for Trace {
    fn from(trace: store::Trace) -> Self {
        let store::Trace { record, attempts } = trace;
        let attempts = attempts.into_iter().map(Attempt::from).collect();
        Self {
            attempts,
            ..record.into()
        }
    }
}

impl From<Record> for Trace {
    fn from(record: Record) -> Self {
        Self {
            id: record.id,
            started_at: record.started_at.timestamp(),
            api: record.api,
            requested_model: record.requested_model,
            alias: record.alias,
            provider: record.provider,
            model: record.model,
            key: record.key,
            stream: record.stream,
            status: record.status,
            outcome: record.outcome,
            error: record.error,
            latency_ms: record.latency.millis(),
            time_to_first_token_ms: record.time_to_first_token.map(Micros::millis),
            routing_ms: record.routing.millis(),
            tokens: record.tokens,
            cost: record.cost.map(Cost::from),
            session_id: record.session_id,
            cluster_id: record.cluster_id,
            expected_error: record.expected_error,
            decision: record.decision,
            user: record.user,
            metadata: record.metadata,
            traceparent: record.traceparent,
            attempts: Vec::new(),
            request: record.request,
            response: record.response,
            content_truncated: record.content_truncated,
        }
    }
}

impl From<store::Cost> for Cost {
    fn from(cost: store::Cost) -> Self {
        Self {
            input: cost.input.usd(),
            output: cost.output.usd(),
            cache_read: cost.cache_read.usd(),
            cache_write: cost.cache_write.usd(),
            total: cost.total.usd(),
        }
    }
}

impl From<store::Attempt> for Attempt {
    fn from(attempt: store::Attempt) -> Self {
        Self {
            number: attempt.number,
            provider: attempt.provider,
            model: attempt.model,
            status: attempt.status,
            error: attempt.error,
            latency_ms: attempt.latency.millis(),
        }
    }
}
