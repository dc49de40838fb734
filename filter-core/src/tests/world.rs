//! The configuration, the requests and the answers that the tests use.

use opentracy_proto::v1;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::fake_envoy::{Exchange, SentMessage, Vm};

/// Returns a configuration with two providers of OpenAI's format, one of Anthropic's, and aliases
/// of them.
pub fn snapshot() -> v1::Snapshot {
    v1::Snapshot {
        providers: vec![
            provider("openai", v1::Format::Openai),
            provider("second", v1::Format::Openai),
            provider("anthropic", v1::Format::Anthropic),
        ],
        models: vec![model("openai", "small"), model("second", "large")],
        aliases: vec![
            alias("only", &["openai/small"]),
            alias("chain", &["openai/small", "second/large"]),
        ],
        traces: Some(v1::TracePolicy {
            content: true,
            max_content_bytes: 1 << 20,
            ..v1::TracePolicy::default()
        }),
        circuit_breaker: Some(v1::CircuitBreakerPolicy {
            off: false,
            consecutive_failures: 5,
            error_rate: 0.5,
            minimum_calls: 20,
            window_ms: 60_000,
            open_for_ms: 10_000,
            max_open_for_ms: 60_000,
        }),
        limit_deadline_ms: 100,
        route_deadline_ms: 100,
        ..v1::Snapshot::default()
    }
}

/// Returns a configuration with a provider of each format, and aliases that have a limit or a spent
/// budget.
pub fn snapshot_of_all() -> v1::Snapshot {
    let mut snapshot = snapshot();
    snapshot.providers.extend([
        provider("gemini", v1::Format::Gemini),
        provider("cohere", v1::Format::Cohere),
        v1::Provider {
            aws: Some(v1::AwsCredentials {
                access_key_id: "AKIDEXAMPLE".to_owned(),
                secret_access_key: "secret".to_owned(),
                session_token: None,
                region: "us-east-1".to_owned(),
            }),
            headers: Vec::new(),
            ..provider("bedrock", v1::Format::Bedrock)
        },
    ]);
    snapshot.aliases.extend([
        v1::Alias {
            limits: Some(v1::Limits {
                requests_per_minute: Some(0),
                ..v1::Limits::default()
            }),
            ..alias("limited", &["openai/small"])
        },
        v1::Alias {
            budget: v1::Budget::HardLimit.into(),
            ..alias("spent", &["openai/small"])
        },
    ]);
    snapshot
}

pub fn provider(name: &str, format: v1::Format) -> v1::Provider {
    let base_path = if format == v1::Format::Openai {
        "/v1"
    } else {
        ""
    };
    v1::Provider {
        name: name.to_owned(),
        format: format.into(),
        envoy_cluster: format!("provider_{name}"),
        authority: format!("api.{name}.test"),
        scheme: "https".to_owned(),
        base_path: base_path.to_owned(),
        headers: vec![v1::Header {
            name: "authorization".to_owned(),
            value: format!("Bearer key-of-{name}"),
        }],
        timeout_ms: 5000,
        ..v1::Provider::default()
    }
}

/// Returns a model that costs a dollar for a million tokens.
pub fn model(provider: &str, name: &str) -> v1::Model {
    v1::Model {
        provider: provider.to_owned(),
        name: name.to_owned(),
        pricing: Some(v1::Pricing {
            input: Some(1e-6),
            output: Some(1e-6),
            ..v1::Pricing::default()
        }),
        bare: true,
        listed: true,
        ..v1::Model::default()
    }
}

pub fn alias(name: &str, candidates: &[&str]) -> v1::Alias {
    v1::Alias {
        name: name.to_owned(),
        candidates: candidates.iter().map(|&id| id.to_owned()).collect(),
        ..v1::Alias::default()
    }
}

/// Returns a request of the chat completions API.
pub fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
}

/// Returns a complete answer in OpenAI's format, of 10 and 5 tokens.
pub fn completion(text: &str) -> Vec<u8> {
    let message = json!({"role": "assistant", "content": text});
    let answer = json!({
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "small",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    });
    answer.to_string().into_bytes()
}

pub const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// The path of the chat completions API.
pub const CHAT: &str = "/v1/chat/completions";

/// The headers of a provider's stream.
pub const SSE: [(&str, &str); 1] = [("content-type", "text/event-stream")];

/// Returns a key of an operator, whose secret is its name after `sk-`.
pub fn key(name: &str) -> v1::ClientKey {
    v1::ClientKey {
        name: name.to_owned(),
        sha256: Sha256::digest(format!("sk-{name}")).to_vec(),
        ..v1::ClientKey::default()
    }
}

/// Sends a request of the chat completions API with further headers.
pub fn chat_with(vm: &mut Vm, headers: &[(&str, &str)], body: &Value) -> Exchange {
    post_with(vm, CHAT, headers, body)
}

/// Sends a JSON body with further headers. A header replaces the usual one of its name.
pub fn post_with(vm: &mut Vm, path: &str, headers: &[(&str, &str)], body: &Value) -> Exchange {
    request(vm, "POST", path, headers, body.to_string().as_bytes())
}

/// Sends a request without a body.
pub fn get(vm: &mut Vm, path: &str, headers: &[(&str, &str)]) -> Exchange {
    request(vm, "GET", path, headers, b"")
}

/// Sends a request of any method.
pub fn request(
    vm: &mut Vm,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Exchange {
    let usual = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "localhost:8080"),
        (":path", path),
        ("content-type", "application/json"),
    ];
    let is_replaced = |name: &str| headers.iter().any(|(own, _)| *own == name);
    let mut all: Vec<(&str, &str)> = usual.to_vec();
    all.retain(|(name, _)| !is_replaced(name));
    all.extend(headers);
    vm.request(&all, body)
}

/// Returns the status of an answer and the code of its error.
pub fn error(message: &SentMessage) -> (u16, String) {
    let code = message.json()["error"]["code"].as_str().map(str::to_owned);
    (message.status(), code.unwrap_or_default())
}

/// Returns the candidates of the plan that a request carries; empty if it goes to a provider.
pub fn plan(request: &SentMessage) -> Vec<String> {
    let plan: Value = serde_json::from_str(request.header("x-opentracy-plan")).unwrap_or_default();
    serde_json::from_value(plan["attempts"].clone()).unwrap_or_default()
}

/// Makes a call, answers it, and returns what the client got.
pub fn call(vm: &mut Vm, headers: &[(&str, &str)], body: &Value) -> SentMessage {
    let mut exchange = chat_with(vm, headers, body);
    if exchange.upstream().is_complete {
        exchange.respond(200, &JSON, &completion("Hi"));
    }
    let got = exchange.client().clone();
    exchange.end();
    got
}

/// Returns an error in OpenAI's format.
pub fn failure(message: &str) -> Vec<u8> {
    let error = json!({"error": {"message": message, "type": "server_error"}});
    error.to_string().into_bytes()
}

/// Returns an event of a stream in OpenAI's format.
pub fn event(data: &Value) -> Vec<u8> {
    format!("data: {data}\n\n").into_bytes()
}

/// Returns an event with a part of an answer.
pub fn part(text: &str) -> Vec<u8> {
    let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": null});
    event(&json!({"choices": [choice]}))
}

/// Returns the last events of an answer of 10 and 5 tokens.
pub fn last_parts() -> Vec<u8> {
    let finish = json!({"index": 0, "delta": {}, "finish_reason": "stop"});
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15});
    let mut events = event(&json!({"choices": [finish], "usage": usage}));
    events.extend(b"data: [DONE]\n\n");
    events
}

/// Ends an exchange that made one attempt, and returns its records.
pub fn end(vm: &mut Vm, exchange: Exchange) -> (v1::Trace, v1::Attempt) {
    exchange.end();
    let mut records = vm.records();
    (records.traces.remove(0), records.attempts.remove(0))
}
