//! The fields of an answer that the gateway reads, and the fields that it adds.

use serde::{Deserialize, Serialize};

use crate::cost::{Usage, Usd};
use crate::json;
use crate::lenient;
use crate::openai::usage::WireUsage;

/// The facts that the gateway needs from an answer.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Summary {
    pub usage: Option<Usage>,
    /// Set if the model asks for tool calls, so that the conversation goes on.
    pub calls_tools: bool,
}

/// The relevant fields of an answer, both of a whole one and of a chunk.
#[derive(Deserialize)]
pub(crate) struct View<'a> {
    #[serde(default, borrow, deserialize_with = "lenient::list")]
    pub choices: Vec<Choice<'a>>,
    #[serde(default, deserialize_with = "lenient::readable")]
    pub usage: Option<WireUsage>,
    #[serde(default)]
    pub error: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
pub(crate) struct Choice<'a> {
    #[serde(default, borrow, deserialize_with = "lenient::word")]
    pub finish_reason: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, borrow)]
    pub message: Option<Message<'a>>,
}

#[derive(Deserialize)]
pub(crate) struct Message<'a> {
    #[serde(default, borrow)]
    pub tool_calls: Option<&'a serde_json::value::RawValue>,
}

/// Parses an answer's body. An unreadable body gives an empty summary.
pub fn summarize(body: &[u8]) -> Summary {
    json::from_bytes::<View<'_>>(body).map_or_else(|_| Summary::default(), |view| view.summary())
}

/// Parses an answer's body if it is plain that it is one: with a choice, and of the usual shape.
pub fn summarize_answer(body: &[u8]) -> Option<Summary> {
    let view = json::from_bytes::<View<'_>>(body).ok()?;
    (!view.choices.is_empty()).then(|| view.summary())
}

impl View<'_> {
    fn summary(&self) -> Summary {
        Summary {
            usage: self.usage.map(Usage::from),
            calls_tools: self.choices.iter().any(|choice| {
                choice.finish_reason.as_deref() == Some("tool_calls")
                    || choice
                        .message
                        .as_ref()
                        .and_then(|message| message.tool_calls)
                        .is_some_and(|calls| !matches!(calls.get(), "null" | "[]"))
            }),
        }
    }
}

/// The gateway's choice of a model, as clients see it in `_routing`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RoutingSummary<'a> {
    /// Alias that the client asked for; `null` if it named a model.
    pub alias: Option<&'a str>,
    pub requested_model: &'a str,
    /// `provider/model`
    pub selected_model: &'a str,
    pub attempts: u32,
    pub routing_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_error: Option<f64>,
    /// Routing decision; `null` if the client named the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionSummary<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<&'a str>,
    pub trace_id: &'a str,
}

/// The control plane's routing decision.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct DecisionSummary<'a> {
    /// `decided`, `cached`, `explored`, or the reason for using the alias's default.
    pub outcome: &'a str,
    /// Version of the router's pack; empty if there was none.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub pack: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_weight: Option<f64>,
    pub reason: &'a str,
}

/// The fields that the gateway adds to an answer: `_cost`, `_latency_ms` and `_routing`.
#[derive(Debug, Clone, Default)]
pub struct Extras<'a> {
    /// `None` if a price is unknown.
    pub cost: Option<Usd>,
    pub latency_ms: f64,
    pub routing: RoutingSummary<'a>,
}

impl Extras<'_> {
    /// Returns the members, without braces.
    pub fn members(&self) -> Vec<u8> {
        let mut out = br#""_cost":"#.to_vec();
        json::write(&mut out, &self.cost);
        out.extend_from_slice(br#","_latency_ms":"#);
        json::write(&mut out, &self.latency_ms);
        out.extend_from_slice(br#","_routing":"#);
        json::write(&mut out, &self.routing);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_summarized() {
        let summary = summarize(
            br#"{"choices":[{"message":{"content":null,"tool_calls":[{"id":"1"}]},"finish_reason":"stop"}],
                "usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}}"#,
        );
        assert!(summary.calls_tools);
        let usage = summary.usage.unwrap();
        assert_eq!((usage.input, usage.output, usage.cache_read), (10, 5, 4));
        assert_eq!(summarize(b"<html>"), Summary::default());
    }

    #[test]
    fn an_unknown_cost_is_null() {
        let members = String::from_utf8(Extras::default().members()).unwrap();
        assert!(
            members.starts_with(r#""_cost":null,"_latency_ms":0.0,"_routing":{"alias":null"#),
            "{members}"
        );
    }
}
