//! Conversions between the forms of a call: records, REST's JSON and gRPC messages.
//!
//! In messages, an empty text stands for a missing one. A form that the field's type already has is
//! the same value.

use std::collections::{BTreeMap, HashMap};

use opentracy_proto::v1;
use opentracy_translate::endpoint::Endpoint;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    Attempt, Cost, Decision, Micros, Outcome, PicoUsd, Tokens, TraceError, UserAgent, json_parts,
};

/// A type of a record's field, which REST's JSON has as `J`.
pub(crate) trait IntoJson<J> {
    fn into_json(self) -> J;
}

/// A type of a record's field, which messages have as `M`.
pub(crate) trait FromMessage<M>: Sized {
    /// Returns `None` if a call with this value can't be recorded.
    fn from_message(message: &M) -> Option<Self>;
}

/// A type of a field in REST's JSON, which messages have as `M`.
pub(crate) trait IntoMessage<M> {
    /// Returns an error that names the field, if the value is invalid.
    fn into_message(self) -> Result<M, String>;
}

impl<T> IntoJson<T> for T {
    fn into_json(self) -> T {
        self
    }
}

impl IntoJson<f64> for Micros {
    fn into_json(self) -> f64 {
        self.millis()
    }
}

impl IntoJson<Option<f64>> for Option<Micros> {
    fn into_json(self) -> Option<f64> {
        self.map(Micros::millis)
    }
}

impl IntoJson<String> for Micros {
    fn into_json(self) -> String {
        self.timestamp()
    }
}

impl IntoJson<Option<json_parts::Cost>> for Option<Cost> {
    fn into_json(self) -> Option<json_parts::Cost> {
        self.map(json_parts::Cost::from)
    }
}

impl<T: Clone> FromMessage<T> for T {
    fn from_message(message: &T) -> Option<Self> {
        Some(message.clone())
    }
}

impl FromMessage<String> for Uuid {
    fn from_message(message: &String) -> Option<Self> {
        Self::try_parse(message).ok()
    }
}

impl FromMessage<String> for Option<String> {
    fn from_message(message: &String) -> Option<Self> {
        Some(some(message))
    }
}

impl FromMessage<String> for Option<UserAgent> {
    fn from_message(message: &String) -> Option<Self> {
        Some(UserAgent::parse(message))
    }
}

impl FromMessage<u64> for Micros {
    fn from_message(message: &u64) -> Option<Self> {
        Some((*message).into())
    }
}

impl FromMessage<Option<u64>> for Option<Micros> {
    fn from_message(message: &Option<u64>) -> Option<Self> {
        Some(message.map(Micros::from))
    }
}

impl FromMessage<u32> for u16 {
    fn from_message(message: &u32) -> Option<Self> {
        Some(status(*message))
    }
}

impl FromMessage<i32> for Endpoint {
    fn from_message(message: &i32) -> Option<Self> {
        Some(Self::numbered(*message).unwrap_or_default())
    }
}

impl FromMessage<i32> for Outcome {
    fn from_message(message: &i32) -> Option<Self> {
        let known = v1::Outcome::try_from(*message).unwrap_or_default();
        Some(known.into())
    }
}

impl FromMessage<Option<v1::TraceError>> for Option<TraceError> {
    fn from_message(message: &Option<v1::TraceError>) -> Option<Self> {
        Some(message.as_ref().map(|error| TraceError {
            r#type: error.r#type.clone(),
            code: some(&error.code),
            message: error.message.clone(),
        }))
    }
}

impl FromMessage<Option<v1::Usage>> for Option<Tokens> {
    fn from_message(message: &Option<v1::Usage>) -> Option<Self> {
        Some(message.map(Tokens::from))
    }
}

impl FromMessage<Option<v1::Cost>> for Option<Cost> {
    fn from_message(message: &Option<v1::Cost>) -> Option<Self> {
        Some(message.map(Cost::from))
    }
}

impl FromMessage<Option<v1::Decision>> for Option<Decision> {
    fn from_message(message: &Option<v1::Decision>) -> Option<Self> {
        Some(message.as_ref().map(|decision| Decision {
            outcome: decision.outcome.clone(),
            pack: some(&decision.pack),
            score: decision.score,
            cost_weight: decision.cost_weight,
            embedding_ms: decision.embedding_micros as f64 / 1000.0,
            reason: decision.reason.clone(),
        }))
    }
}

impl FromMessage<HashMap<String, String>> for BTreeMap<String, String> {
    fn from_message(message: &HashMap<String, String>) -> Option<Self> {
        let pairs = message.iter();
        Some(
            pairs
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        )
    }
}

/// Leaves the body out: a stream has to be aggregated first, and a truncated body isn't JSON.
impl FromMessage<Vec<u8>> for Option<Box<RawValue>> {
    fn from_message(_: &Vec<u8>) -> Option<Self> {
        Some(None)
    }
}

impl<T> IntoMessage<T> for T {
    fn into_message(self) -> Result<T, String> {
        Ok(self)
    }
}

impl IntoMessage<String> for Uuid {
    fn into_message(self) -> Result<String, String> {
        Ok(self.to_string())
    }
}

/// Parses the only time, `started_at`.
impl IntoMessage<u64> for String {
    fn into_message(self) -> Result<u64, String> {
        let time = self
            .parse::<jiff::Timestamp>()
            .map_err(|_| "`started_at` must be a time such as 2026-11-21T08:00:00Z".to_owned())?;
        u64::try_from(time.as_microsecond())
            .map_err(|_| "`started_at` must be later than 1970".to_owned())
    }
}

impl IntoMessage<String> for Option<String> {
    fn into_message(self) -> Result<String, String> {
        Ok(self.unwrap_or_default())
    }
}

/// Shortens the text, because an import may have any.
impl IntoMessage<String> for Option<UserAgent> {
    fn into_message(self) -> Result<String, String> {
        let agent = self.and_then(|agent| UserAgent::parse(agent.as_str()));
        Ok(agent.map_or_else(String::new, String::from))
    }
}

impl IntoMessage<u64> for f64 {
    fn into_message(self) -> Result<u64, String> {
        Ok(micros(self))
    }
}

impl IntoMessage<Option<u64>> for Option<f64> {
    fn into_message(self) -> Result<Option<u64>, String> {
        Ok(self.map(micros))
    }
}

impl IntoMessage<u32> for u16 {
    fn into_message(self) -> Result<u32, String> {
        Ok(self.into())
    }
}

impl IntoMessage<i32> for Endpoint {
    fn into_message(self) -> Result<i32, String> {
        Ok(self.number())
    }
}

impl IntoMessage<i32> for Outcome {
    fn into_message(self) -> Result<i32, String> {
        Ok(v1::Outcome::from(self).into())
    }
}

impl IntoMessage<Option<v1::TraceError>> for Option<TraceError> {
    fn into_message(self) -> Result<Option<v1::TraceError>, String> {
        Ok(self.map(|error| v1::TraceError {
            r#type: error.r#type,
            code: error.code.unwrap_or_default(),
            message: error.message,
        }))
    }
}

impl IntoMessage<Option<v1::Usage>> for Option<Tokens> {
    fn into_message(self) -> Result<Option<v1::Usage>, String> {
        Ok(self.map(v1::Usage::from))
    }
}

impl IntoMessage<Option<v1::Cost>> for Option<json_parts::Cost> {
    fn into_message(self) -> Result<Option<v1::Cost>, String> {
        Ok(self.map(|cost| v1::Cost {
            input: cost.input,
            output: cost.output,
            cache_read: cost.cache_read,
            cache_write: cost.cache_write,
            total: cost.total,
        }))
    }
}

impl IntoMessage<Option<v1::Decision>> for Option<Decision> {
    fn into_message(self) -> Result<Option<v1::Decision>, String> {
        Ok(self.map(|decision| v1::Decision {
            outcome: decision.outcome,
            pack: decision.pack.unwrap_or_default(),
            score: decision.score,
            cost_weight: decision.cost_weight,
            embedding_micros: micros(decision.embedding_ms),
            reason: decision.reason,
        }))
    }
}

impl IntoMessage<HashMap<String, String>> for BTreeMap<String, String> {
    fn into_message(self) -> Result<HashMap<String, String>, String> {
        Ok(self.into_iter().collect())
    }
}

impl IntoMessage<Vec<u8>> for Option<Box<RawValue>> {
    fn into_message(self) -> Result<Vec<u8>, String> {
        let json = self.filter(|json| json.get() != "null");
        Ok(json.map_or_else(Vec::new, |json| json.get().as_bytes().to_vec()))
    }
}

impl Attempt {
    /// Converts an attempt. Returns `None` if its trace's id is not a UUID.
    pub fn from_message(message: v1::Attempt) -> Option<Self> {
        Some(Self {
            trace_id: Uuid::try_parse(&message.trace_id).ok()?,
            number: message.number,
            started_at: message.start_unix_micros.into(),
            provider: message.provider,
            model: message.model,
            status: Some(status(message.status)).filter(|&status| status != 0),
            error: some(&message.error),
            latency: message.latency_micros.into(),
        })
    }
}

impl From<v1::Outcome> for Outcome {
    fn from(wire: v1::Outcome) -> Self {
        match wire {
            v1::Outcome::ClientDisconnected => Self::ClientDisconnected,
            v1::Outcome::UpstreamBrokeOff => Self::UpstreamBrokeOff,
            v1::Outcome::Completed | v1::Outcome::Unspecified => Self::Completed,
        }
    }
}

impl From<Outcome> for v1::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Completed => Self::Completed,
            Outcome::ClientDisconnected => Self::ClientDisconnected,
            Outcome::UpstreamBrokeOff => Self::UpstreamBrokeOff,
        }
    }
}

impl From<v1::Usage> for Tokens {
    fn from(usage: v1::Usage) -> Self {
        Self {
            input: usage.input,
            output: usage.output,
            cache_read: usage.cache_read,
            cache_write: usage.cache_write,
            reasoning: usage.reasoning,
        }
    }
}

impl From<Tokens> for v1::Usage {
    fn from(tokens: Tokens) -> Self {
        Self {
            input: tokens.input,
            output: tokens.output,
            cache_read: tokens.cache_read,
            cache_write: tokens.cache_write,
            reasoning: tokens.reasoning,
        }
    }
}

impl From<v1::Cost> for Cost {
    fn from(cost: v1::Cost) -> Self {
        Self {
            input: PicoUsd::from_usd(cost.input),
            output: PicoUsd::from_usd(cost.output),
            cache_read: PicoUsd::from_usd(cost.cache_read),
            cache_write: PicoUsd::from_usd(cost.cache_write),
            total: PicoUsd::from_usd(cost.total),
        }
    }
}

impl From<Cost> for v1::Cost {
    fn from(cost: Cost) -> Self {
        Self {
            input: cost.input.usd(),
            output: cost.output.usd(),
            cache_read: cost.cache_read.usd(),
            cache_write: cost.cache_write.usd(),
            total: cost.total.usd(),
        }
    }
}

/// Returns `None` for an empty text.
fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn status(wire: u32) -> u16 {
    u16::try_from(wire).unwrap_or_default()
}

pub(crate) fn micros(millis: f64) -> u64 {
    (millis.max(0.0) * 1000.0).round() as u64
}
