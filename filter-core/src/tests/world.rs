//! The configuration, the requests and the answers that the tests use.

use opentracy_proto::v1;
use serde_json::{Value, json};

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
    v1::Provider {
        name: name.to_owned(),
        format: format.into(),
        envoy_cluster: format!("provider_{name}"),
        authority: format!("api.{name}.test"),
        scheme: "https".to_owned(),
        base_path: "/v1".to_owned(),
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
