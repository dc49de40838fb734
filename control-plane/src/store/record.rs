//! The data that stores hold for a call.

use std::collections::BTreeMap;

use opentracy_translate::cost::Usd;
use opentracy_translate::endpoint::Endpoint;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::store::StoreError;

/// A call with all of its attempts.
#[derive(Debug, Clone)]
pub struct Trace {
    pub record: Record,
    /// Sorted by number.
    pub attempts: Vec<Attempt>,
}

/// One call of a client.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    pub id: Uuid,
    pub started_at: Micros,
    pub api: Endpoint,
    pub requested_model: String,
    pub alias: Option<String>,
    pub provider: Option<String>,
    pub model: Option<String>,
    /// The name of the client's key.
    pub key: Option<String>,
    pub stream: bool,
    /// The status that the client got; 0 if it disconnected before there was one.
    pub status: u16,
    pub outcome: Outcome,
    pub error: Option<TraceError>,
    pub latency: Micros,
    pub time_to_first_token: Option<Micros>,
    pub routing: Micros,
    pub tokens: Option<Tokens>,
    pub cost: Option<Cost>,
    pub session_id: Option<String>,
    pub cluster_id: Option<u32>,
    pub expected_error: Option<f64>,
    /// The routing decision of the control plane; `None` if the client named the model.
    #[serde(default)]
    pub decision: Option<Decision>,
    pub user: Option<String>,
    pub metadata: BTreeMap<String, String>,
    /// W3C Trace Context, as received.
    pub traceparent: Option<String>,
    /// JSON; `None` if content is not recorded.
    pub request: Option<Box<RawValue>>,
    /// JSON in the client's API; a stream is aggregated to a whole response.
    pub response: Option<Box<RawValue>>,
    pub content_truncated: bool,
}

/// The routing decision of the control plane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Decision {
    /// `decided`, `cached` or `explored`, or the reason why the alias's default was used.
    pub outcome: String,
    /// The version of the router's pack; `null` if there was no pack.
    pub pack: Option<String>,
    /// Expected error plus the weighted cost and latency.
    pub score: Option<f64>,
    pub cost_weight: Option<f64>,
    /// 0 if the embedding was cached.
    pub embedding_ms: f64,
    /// Human-readable.
    pub reason: String,
}

/// A rating of one answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Feedback {
    pub trace_id: Uuid,
    pub at: Micros,
    /// `user`, `judge`, `evaluation`, …
    pub source: String,
    /// From 0 (good enough) to 1.
    pub error: f64,
}

/// One call to one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub trace_id: Uuid,
    /// Counts from 1.
    pub number: u32,
    pub started_at: Micros,
    pub provider: String,
    pub model: String,
    /// `None` if the provider sent no status.
    pub status: Option<u16>,
    /// A one-word reason for the failure.
    pub error: Option<String>,
    pub latency: Micros,
}

/// Microseconds: a duration, or a time since the epoch.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Micros(pub i64);

/// An exact sum of money in 10⁻¹² USD. Integers make sums independent of the order of addition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PicoUsd(pub i64);

/// The end of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The client got the complete response, which may be an error.
    Completed,
    ClientDisconnected,
    /// The provider broke off after the response had begun.
    UpstreamBrokeOff,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceError {
    pub r#type: String,
    pub code: Option<String>,
    pub message: String,
}

/// Token counts. Cached tokens are part of `input`, reasoning tokens part of `output`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tokens {
    pub input: u64,
    pub output: u64,
    #[serde(default)]
    pub cache_read: u64,
    #[serde(default)]
    pub cache_write: u64,
    #[serde(default)]
    pub reasoning: u64,
}

/// The parts of a call's cost. Cached tokens are not part of `input`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    pub input: PicoUsd,
    pub output: PicoUsd,
    pub cache_read: PicoUsd,
    pub cache_write: PicoUsd,
    pub total: PicoUsd,
}

impl Record {
    /// Returns the sort key of the call: by time, then by id.
    pub fn place(&self) -> SortKey {
        SortKey::of(self.started_at, self.id)
    }

    /// Serializes the complete record, as stores hold it.
    pub fn to_json(&self) -> Result<String, StoreError> {
        serde_json::to_string(self).map_err(StoreError::unreadable)
    }

    pub fn from_json(json: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(json).map_err(StoreError::unreadable)
    }

    /// Returns the sum of input and output tokens.
    pub fn total_tokens(&self) -> Option<u64> {
        self.tokens
            .map(|tokens| tokens.input.saturating_add(tokens.output))
    }
}

/// An almost unique sort key: microseconds in the upper 53 bits, bits of the id below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SortKey(pub i64);

impl SortKey {
    const ID_BITS: u32 = 10;

    pub fn of(started_at: Micros, id: Uuid) -> Self {
        let [_, _, _, _, _, _, high, low, ..] = id.into_bytes();
        let of_id = u16::from_be_bytes([high, low]) & ((1 << Self::ID_BITS) - 1);
        Self(Self::first_at(started_at).0 | i64::from(of_id))
    }

    /// Returns the lowest place of a call at this time.
    pub fn first_at(time: Micros) -> Self {
        Self(time.0.clamp(0, i64::MAX >> Self::ID_BITS) << Self::ID_BITS)
    }
}

impl Micros {
    pub fn millis(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Formats the time as RFC 3339.
    pub fn timestamp(self) -> String {
        jiff::Timestamp::from_microsecond(self.0)
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
            .to_string()
    }

    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_microsecond())
    }
}

/// Converts unsigned times of the wire; no real time is near the end of either range.
impl From<u64> for Micros {
    fn from(micros: u64) -> Self {
        Self(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

impl PicoUsd {
    pub fn usd(self) -> f64 {
        self.0 as f64 / 1e12
    }

    /// Converts from USD; saturates.
    pub fn from_usd(usd: f64) -> Self {
        Self((usd * 1e12).round() as i64)
    }
}

impl From<Usd> for PicoUsd {
    fn from(usd: Usd) -> Self {
        Self::from_usd(usd.0)
    }
}

impl Outcome {
    pub const ALL: [Self; 3] = [
        Self::Completed,
        Self::ClientDisconnected,
        Self::UpstreamBrokeOff,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::ClientDisconnected => "client_disconnected",
            Self::UpstreamBrokeOff => "upstream_broke_off",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_the_order_of_time() {
        let id = |text: &str| Uuid::parse_str(text).unwrap();
        let (low, high) = (
            id("019a0000-0000-7001-8000-000000000000"),
            id("019a0000-0000-73ff-8000-000000000000"),
        );
        let place = |micros, id| SortKey::of(Micros(micros), id);
        assert!(place(7, low) < place(7, high));
        assert!(place(7, high) < place(8, low));
        assert!(SortKey::first_at(Micros(8)) <= place(8, low));
        assert!(place(i64::MAX, high).0 > 0);
    }

    #[test]
    fn money_is_exact() {
        let cent = PicoUsd::from_usd(0.01);
        assert_eq!(cent.0, 10_000_000_000);
        assert_eq!(cent.usd(), 0.01);
        assert_eq!(PicoUsd::from_usd(1e-10).usd(), 1e-10);
    }
}
