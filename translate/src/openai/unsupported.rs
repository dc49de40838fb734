//! The request fields that a format has no counterpart for, and the reason by provider.
//!
//! One table for all formats that aren't OpenAI's, because most reasons are the same.
//! `tests/providers.rs` checks it against `docs/providers.md`. Fields of messages and tools are
//! rejected where they are translated.

use crate::error::ApiError;
use crate::openai::request::{ChatRequest, is_set};

/// The subjects of the reasons; each is the `vendor` of a format's facts.
const A: &str = "Anthropic";
const B: &str = "Bedrock";
const C: &str = "Cohere";
const G: &str = "Gemini";

/// A field that some providers don't support.
struct Unsupported {
    field: &'static str,
    /// Returns true unless dropping the field leaves the answer the same.
    is_asked_for: fn(&ChatRequest<'_>) -> bool,
    vendors: &'static [&'static str],
    /// `{}` stands for the vendor.
    reason: &'static str,
}

const fn row(
    field: &'static str,
    is_asked_for: fn(&ChatRequest<'_>) -> bool,
    vendors: &'static [&'static str],
    reason: &'static str,
) -> Unsupported {
    Unsupported {
        field,
        is_asked_for,
        vendors,
        reason,
    }
}

/// In the order in which they are checked: a request with several gets the first reason.
#[rustfmt::skip]
static TABLE: [Unsupported; 20] = [
    row("n", n, &[A, B, C], "{} answers once per request; call it once for each answer"),
    row("logprobs", logprobs, &[A, B], "{} gives no log probabilities"),
    row("top_logprobs", top_logprobs, &[C], "{} tells the probabilities of what it said, and of nothing else"),
    row("logit_bias", logit_bias, &[A, B, C, G], "{} has nothing like it"),
    row("presence_penalty", presence, &[A, B], "{} has no penalties"),
    row("presence_penalty", negative_presence, &[C], "{}'s penalties go from 0 to 1"),
    row("frequency_penalty", frequency, &[A, B], "{} has no penalties"),
    row("frequency_penalty", negative_frequency, &[C], "{}'s penalties go from 0 to 1"),
    row("modalities", |request| request.wants_more_than_text(), &[A, C], "{} answers with text only"),
    row("modalities", |request| request.wants_more_than_text(), &[B, G], "only text is translated from {}"),
    row("functions", functions, &[A, B, C, G], "it is deprecated; use `tools`"),
    row("web_search_options", web_search, &[G], "{} searches with a tool of its own"),
    row("verbosity", |request| request.wants_another_length(), &[A, B, C, G], "say in a message how long the answer should be"),
    row("web_search_options", web_search, &[A], "{} searches with a tool of its own"),
    row("web_search_options", web_search, &[B], "{} has no search"),
    row("web_search_options", web_search, &[C], "{} has no search of its own"),
    row("parallel_tool_calls", |request| request.calls_one_tool_at_a_time(), &[C, G], "{} may always call several tools at once"),
    row("stop", blank_stop, &[A], "{} refuses stop sequences of white space only"),
    row("stop", empty_stop, &[B], "{} refuses empty stop sequences"),
    row("stop", more_than_five_stops, &[C, G], "{} takes five stop sequences at most"),
];

/// Returns the first field of a request that a provider does not support, and the reason.
pub fn find(request: &ChatRequest<'_>, vendor: &str) -> Option<(&'static str, String)> {
    let row = TABLE
        .iter()
        .find(|row| row.vendors.contains(&vendor) && (row.is_asked_for)(request))?;
    Some((row.field, row.reason.replace("{}", vendor)))
}

/// Returns a 400 for the first field that a provider does not support.
pub(crate) fn reject(request: &ChatRequest<'_>, vendor: &str, model: &str) -> Result<(), ApiError> {
    match find(request, vendor) {
        Some((field, reason)) => Err(ApiError::unsupported(field, model, &reason)),
        None => Ok(()),
    }
}

fn n(request: &ChatRequest<'_>) -> bool {
    request.n.is_some_and(|n| n != 1)
}

fn logprobs(request: &ChatRequest<'_>) -> bool {
    request.logprobs == Some(true)
}

fn top_logprobs(request: &ChatRequest<'_>) -> bool {
    request.top_logprobs.is_some_and(|number| number > 0)
}

fn logit_bias(request: &ChatRequest<'_>) -> bool {
    is_set(request.logit_bias)
}

fn presence(request: &ChatRequest<'_>) -> bool {
    request.presence_penalty.is_some_and(|value| value != 0.0)
}

fn negative_presence(request: &ChatRequest<'_>) -> bool {
    request.presence_penalty.is_some_and(|value| value < 0.0)
}

fn frequency(request: &ChatRequest<'_>) -> bool {
    request.frequency_penalty.is_some_and(|value| value != 0.0)
}

fn negative_frequency(request: &ChatRequest<'_>) -> bool {
    request.frequency_penalty.is_some_and(|value| value < 0.0)
}

fn functions(request: &ChatRequest<'_>) -> bool {
    is_set(request.functions)
}

fn web_search(request: &ChatRequest<'_>) -> bool {
    request.web_search_options.is_some()
}

fn blank_stop(request: &ChatRequest<'_>) -> bool {
    let mut stops = request.stop.iter().flat_map(|stop| &stop.0);
    stops.any(|text| text.trim().is_empty())
}

fn empty_stop(request: &ChatRequest<'_>) -> bool {
    let mut stops = request.stop.iter().flat_map(|stop| &stop.0);
    stops.any(|text| text.is_empty())
}

fn more_than_five_stops(request: &ChatRequest<'_>) -> bool {
    request.stop.as_ref().is_some_and(|stop| stop.0.len() > 5)
}
