//! `POST /v1/traces`: imports calls that were made elsewhere.
//!
//! Accepts one object, a list, or JSON Lines. An object is a trace as in `GET /v1/traces`, or an
//! OpenAI-style log: a request with its response, a stored completion, a line of a batch's output,
//! or the messages of a fine-tuning file.

mod rules;

use opentracy_proto::v1;
use opentracy_trace::json::Trace;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use opentracy_base::clock;
use opentracy_config::catalog;
use opentracy_ingest::bounds;
pub use rules::Rules;

/// Parses one object. The flag is `true` for a log, and `false` for an exported trace.
pub fn read(text: &str) -> Result<(v1::IngestRequest, bool), String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let Value::Object(members) = &value else {
        return Err("must be a JSON object".to_owned());
    };
    if members.contains_key("started_at") {
        let trace = serde_json::from_str::<Trace>(text).map_err(|error| error.to_string())?;
        return Ok((within_bounds(trace.into_request()?)?, false));
    }
    let log: Log<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok((within_bounds(of_log(log, text)?)?, true))
}

/// Returns an error if a number is out of range, with the same bounds as for the gateway's records.
fn within_bounds(mut request: v1::IngestRequest) -> Result<v1::IngestRequest, String> {
    match bounds::remove_out_of_range(&mut request) {
        (_, Some(why)) => Err(why.to_string()),
        (_, None) => Ok(request),
    }
}

/// The fields of third-party logs that are imported; others are ignored.
#[derive(Deserialize)]
struct Log<'a> {
    id: Option<String>,
    provider: Option<String>,
    model: Option<String>,
    /// Seconds since the epoch, or RFC 3339.
    #[serde(alias = "created_at", alias = "timestamp")]
    created: Option<Moment>,
    latency_ms: Option<f64>,
    #[serde(alias = "status_code")]
    status: Option<u16>,
    user: Option<String>,
    #[serde(default)]
    metadata: Option<serde_json::Map<String, Value>>,
    #[serde(borrow, alias = "body")]
    request: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    messages: Option<Vec<Value>>,
    #[serde(borrow)]
    choices: Option<&'a RawValue>,
}

/// Seconds since the epoch, or RFC 3339.
#[derive(Deserialize)]
#[serde(untagged)]
enum Moment {
    Seconds(f64),
    Text(String),
}

/// The fields of a request or response body that describe the call.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    model: Option<String>,
    created: Option<f64>,
    usage: Option<Usage>,
    user: Option<String>,
    stream: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Usage {
    #[serde(alias = "input_tokens")]
    prompt_tokens: u64,
    #[serde(alias = "output_tokens")]
    completion_tokens: u64,
}

/// A response in a batch's output, which nests the body one level deeper.
#[derive(Deserialize)]
struct Enveloped<'a> {
    status_code: u16,
    #[serde(borrow)]
    body: &'a RawValue,
}

fn of_log(log: Log<'_>, text: &str) -> Result<v1::IngestRequest, String> {
    let mut status = log.status;
    let mut request = bytes(log.request);
    let mut response = match log.response {
        Some(raw) => match serde_json::from_str::<Enveloped<'_>>(raw.get()) {
            Ok(enveloped) => {
                status = Some(enveloped.status_code);
                bytes(Some(enveloped.body))
            }
            Err(_) => bytes(Some(raw)),
        },
        None => Vec::new(),
    };
    match (log.choices, log.messages) {
        // A stored completion, with or without its request messages.
        (Some(_), messages) => {
            response = text.as_bytes().to_vec();
            if let Some(messages) = messages {
                request = body(&json!({"model": log.model, "messages": messages}));
            }
        }
        (None, Some(mut messages)) => {
            let last = messages.pop_if(|last| last["role"] == "assistant");
            request = body(&json!({"model": log.model, "messages": messages}));
            if let Some(message) = last {
                response = body(&json!({"object": "chat.completion", "model": log.model,
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}));
            }
        }
        (None, None) => {}
    }
    if request.is_empty() && response.is_empty() {
        return Err("must have `request` and `response`, `choices`, or `messages`".to_owned());
    }
    let asked: Body = serde_json::from_slice(&request).unwrap_or_default();
    let answered: Body = serde_json::from_slice(&response).unwrap_or_default();
    let requested = asked.model.or(log.model.clone()).unwrap_or_default();
    let model = answered.model.or(log.model).unwrap_or(requested.clone());
    let (provider, model) = provider_and_model(log.provider, model);
    let start = match log.created {
        Some(Moment::Text(text)) => text
            .parse::<jiff::Timestamp>()
            .map_err(|_| {
                "`created_at` must be seconds since 1970 or a time such as 2026-11-21T08:00:00Z"
                    .to_owned()
            })?
            .as_microsecond(),
        Some(Moment::Seconds(seconds)) => (seconds * 1e6) as i64,
        None => answered
            .created
            .map_or_else(|| clock::now().0, |seconds| (seconds * 1e6) as i64),
    };
    let start = u64::try_from(start).unwrap_or_default();
    let status = status.unwrap_or(200);
    let trace = v1::Trace {
        id: id(log.id.as_deref(), start, text).to_string(),
        start_unix_micros: start,
        requested_model: requested,
        provider,
        model,
        stream: asked.stream,
        status: u32::from(status),
        error: (status >= 400).then(|| v1::TraceError {
            r#type: "api_error".to_owned(),
            message: String::from_utf8_lossy(&response).into_owned(),
            ..v1::TraceError::default()
        }),
        outcome: v1::Outcome::Completed.into(),
        latency_micros: (log.latency_ms.unwrap_or_default().max(0.0) * 1000.0) as u64,
        usage: answered.usage.map(|usage| v1::Usage {
            input: usage.prompt_tokens,
            output: usage.completion_tokens,
            ..v1::Usage::default()
        }),
        request,
        response,
        metadata: log
            .metadata
            .into_iter()
            .flatten()
            .map(|(name, value)| match value {
                Value::String(text) => (name, text),
                other => (name, other.to_string()),
            })
            .collect(),
        user: log.user.or(asked.user).unwrap_or_default(),
        ..v1::Trace::default()
    };
    Ok(v1::IngestRequest {
        traces: vec![trace],
        attempts: Vec::new(),
    })
}

/// Returns provider and model: as given, from the catalog, from a `provider/model` name, or OpenAI
/// by default.
fn provider_and_model(provider: Option<String>, model: String) -> (String, String) {
    if let Some(provider) = provider {
        return (provider, model);
    }
    if let Some(provider) = catalog::provider_of(&model) {
        return (provider.to_owned(), model);
    }
    match model.split_once('/') {
        Some((provider, rest)) => (provider.to_owned(), rest.to_owned()),
        None => ("openai".to_owned(), model),
    }
}

/// Returns a log's own id if it is a UUID; otherwise derives one, so that importing a log again is
/// idempotent.
fn id(own: Option<&str>, start_micros: u64, text: &str) -> Uuid {
    if let Some(id) = own.and_then(|id| Uuid::try_parse(id).ok()) {
        return id;
    }
    let digest = opentracy_translate::hash::fnv1a(own.unwrap_or(text).as_bytes()).to_be_bytes();
    let [_, _, _, _, _, _, random @ ..] = digest;
    uuid::Builder::from_unix_timestamp_millis(start_micros / 1000, &random).into_uuid()
}

fn bytes(json: Option<&RawValue>) -> Vec<u8> {
    json.filter(|json| json.get() != "null")
        .map_or_else(Vec::new, |json| json.get().as_bytes().to_vec())
}

fn body(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(text: &str) -> v1::Trace {
        read(text).unwrap().0.traces.remove(0)
    }

    #[test]
    fn logs_of_every_kind_are_read() {
        let pair = trace(
            r#"{"request": {"model": "gpt-4o", "messages": [], "user": "u"}, "response": {"created": 7, "model": "gpt-4o-2024-08-06",
                "usage": {"prompt_tokens": 3, "completion_tokens": 4}}, "metadata": {"team": "a", "n": 1}}"#,
        );
        assert_eq!(
            (pair.requested_model.as_str(), pair.provider.as_str()),
            ("gpt-4o", "openai")
        );
        assert_eq!(
            (pair.start_unix_micros, pair.user.as_str()),
            (7_000_000, "u")
        );
        assert_eq!(pair.usage.unwrap().output, 4);
        assert_eq!(pair.metadata["n"], "1");
        let stored = trace(
            r#"{"id": "chatcmpl-1", "object": "chat.completion", "created": 9, "model": "claude-sonnet-4-6", "choices": [], "messages": [{"role": "user", "content": "x"}]}"#,
        );
        assert_eq!(
            (stored.provider.as_str(), stored.start_unix_micros),
            ("anthropic", 9_000_000)
        );
        assert!(String::from_utf8_lossy(&stored.request).contains("\"x\""));
        let batch = trace(
            r#"{"id": "batch_req_1", "custom_id": "a", "response": {"status_code": 429, "body": {"error": {"message": "slow down"}}}}"#,
        );
        assert_eq!((batch.status, batch.error.is_some()), (429, true));
        let tuning = trace(
            r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}"#,
        );
        assert!(String::from_utf8_lossy(&tuning.response).contains("\"a\""));
        assert!(!String::from_utf8_lossy(&tuning.request).contains("\"a\""));
    }

    #[test]
    fn the_same_log_has_the_same_id() {
        let log = r#"{"id": "chatcmpl-1", "created": 9, "model": "m", "choices": []}"#;
        assert_eq!(trace(log).id, trace(log).id);
        assert_ne!(
            trace(log).id,
            trace(&log.replace("chatcmpl-1", "chatcmpl-2")).id
        );
    }

    #[test]
    fn what_is_no_log_is_refused() {
        let endless = r#"{"request": {"messages": []}, "response": {}, "latency_ms": 1e300}"#;
        for text in [
            "",
            "[]",
            "{}",
            r#"{"a": 1}"#,
            r#"{"started_at": "x"}"#,
            endless,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
