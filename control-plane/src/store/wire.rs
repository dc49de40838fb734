//! Conversion of the filter's messages to stored records.

use opentracy_proto::v1;
use opentracy_translate::endpoint::Endpoint;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::store::words::Words;
use crate::store::{Attempt, Cost, Decision, Micros, Outcome, PicoUsd, Record, Tokens, TraceError};

/// Converts a trace to a record and its search terms. Returns `None` if its id is not a UUID, which
/// the filter never sends.
pub fn record(trace: v1::Trace) -> Option<(Record, String)> {
    let api = Endpoint::numbered(trace.api).unwrap_or_default();
    let outcome = trace.outcome().into();
    let mut words = Words::default();
    let request = content(&trace.request, &mut words);
    let response = match api.api() {
        Some(api) if is_event_stream(&trace.response) => {
            // A stream is aggregated to the response that it stands for.
            let whole = api.aggregate(&trace.response).to_string();
            content(whole.as_bytes(), &mut words)
        }
        _ => content(&trace.response, &mut words),
    };
    let record = Record {
        id: Uuid::try_parse(&trace.id).ok()?,
        started_at: trace.start_unix_micros.into(),
        api,
        requested_model: trace.requested_model,
        alias: some(trace.alias),
        provider: some(trace.provider),
        model: some(trace.model),
        key: some(trace.key),
        stream: trace.stream,
        status: status(trace.status),
        outcome,
        error: trace.error.map(|error| TraceError {
            r#type: error.r#type,
            code: some(error.code),
            message: error.message,
        }),
        latency: trace.latency_micros.into(),
        time_to_first_token: trace.time_to_first_token_micros.map(Micros::from),
        routing: trace.routing_micros.into(),
        tokens: trace.usage.map(Tokens::from),
        cost: trace.cost.map(Cost::from),
        session_id: some(trace.session_id),
        cluster_id: trace.cluster_id,
        expected_error: trace.expected_error,
        decision: trace.decision.map(|decision| Decision {
            outcome: decision.outcome,
            pack: some(decision.pack),
            score: decision.score,
            cost_weight: decision.cost_weight,
            embedding_ms: decision.embedding_micros as f64 / 1000.0,
            reason: decision.reason,
        }),
        user: some(trace.user),
        metadata: trace.metadata.into_iter().collect(),
        traceparent: some(trace.traceparent),
        request,
        response,
        content_truncated: trace.content_truncated,
    };
    Some((record, words.into_text()))
}

/// Converts an attempt. Returns `None` if its trace's id is not a UUID.
pub fn attempt(attempt: v1::Attempt) -> Option<Attempt> {
    Some(Attempt {
        trace_id: Uuid::try_parse(&attempt.trace_id).ok()?,
        number: attempt.number,
        started_at: attempt.start_unix_micros.into(),
        provider: attempt.provider,
        model: attempt.model,
        status: Some(status(attempt.status)).filter(|&status| status != 0),
        error: some(attempt.error),
        latency: attempt.latency_micros.into(),
    })
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
fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn status(wire: u32) -> u16 {
    u16::try_from(wire).unwrap_or_default()
}

fn is_event_stream(body: &[u8]) -> bool {
    body.trim_ascii_start()
        .first()
        .is_some_and(|&byte| byte != b'{')
}

/// Converts a recorded body for storage and adds its words; returns `None` for an empty body. A
/// truncated body isn't valid JSON and is stored as a string.
fn content(body: &[u8], words: &mut Words) -> Option<Box<RawValue>> {
    if body.is_empty() {
        return None;
    }
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if words.add_body(text).is_ok()
        && let Ok(json) = RawValue::from_string(text.to_owned())
    {
        return Some(json);
    }
    words.add(text);
    serde_json::value::to_raw_value(text).ok()
}
