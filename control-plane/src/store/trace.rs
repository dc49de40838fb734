//! A trace as people get it.

use std::collections::BTreeMap;

use opentracy_proto::v1;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// One call of a client.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Trace {
    pub id: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// What the client spoke: `chat_completions`, `messages` or `responses`.
    pub api: String,
    /// What the client asked for.
    pub requested_model: String,
    pub alias: Option<String>,
    pub provider: Option<String>,
    pub model: Option<String>,
    pub stream: bool,
    /// The HTTP status the client got; 0 when it left before there was one.
    pub status: u32,
    pub outcome: Outcome,
    pub error: Option<TraceError>,
    pub latency_ms: f64,
    pub time_to_first_token_ms: Option<f64>,
    pub routing_ms: f64,
    pub tokens: Option<Tokens>,
    /// `null` when a price is unknown.
    pub cost: Option<Cost>,
    pub session_id: Option<String>,
    pub cluster_id: Option<u32>,
    pub expected_error: Option<f64>,
    pub user: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub attempts: Vec<Attempt>,
    /// The request's messages and parameters; `null` when content is not recorded.
    pub request: Option<Value>,
    /// The answer as the client's API has it, whole even of a stream.
    pub response: Option<Value>,
    pub content_truncated: bool,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The client got everything there was, be it an error.
    Completed,
    ClientDisconnected,
    /// The provider broke off after the answer had begun.
    UpstreamBrokeOff,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TraceError {
    pub r#type: String,
    pub code: Option<String>,
    pub message: String,
}

/// Cached tokens are part of `input`, reasoning ones part of `output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Tokens {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    pub reasoning: u64,
}

/// USD.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Cost {
    pub input: f64,
    pub output: f64,
    pub cache_read: f64,
    pub cache_write: f64,
    pub total: f64,
}

/// One call to one provider.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Attempt {
    /// 1 is the first.
    pub number: u32,
    pub provider: String,
    pub model: String,
    /// `null` when the provider gave none.
    pub status: Option<u32>,
    /// What went wrong, in a word.
    pub error: Option<String>,
    pub latency_ms: f64,
}

impl Outcome {
    pub(super) fn of_wire(outcome: v1::Outcome) -> Self {
        match outcome {
            v1::Outcome::ClientDisconnected => Self::ClientDisconnected,
            v1::Outcome::UpstreamBrokeOff => Self::UpstreamBrokeOff,
            v1::Outcome::Completed | v1::Outcome::Unspecified => Self::Completed,
        }
    }
}

/// Microseconds since the epoch as RFC 3339.
pub(super) fn timestamp(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}
