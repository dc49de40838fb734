//! Tests that a member that is null is as if it were absent, in every API and for every provider:
//! clients in C#, Kotlin and Go write null for all that isn't set.

mod fixtures;

use std::collections::{BTreeMap, BTreeSet};

use opentracy_translate::client::Api;
use opentracy_translate::exchange::Target;
use opentracy_translate::format;
use opentracy_translate::openai::envelope::Envelope;
use opentracy_translate::provider::{BuiltInProvider, PROVIDERS};
use serde_json::{Map, Value};

use crate::fixtures::{Input, apis, formats, inputs};

/// Members whose value is the application's own, or a schema.
const OPAQUE: [&str; 11] = [
    "action",
    "additionalModelRequestFields",
    "arguments",
    "cache_control",
    "guardrailConfig",
    "input_schema",
    "logit_bias",
    "metadata",
    "operation",
    "parameters",
    "schema",
];
/// Members of the APIs that no fixture has.
const FURTHER: [(&str, &[&str]); 6] = [
    (
        "chat_completions",
        &[
            "audio",
            "cache_control",
            "frequency_penalty",
            "function_call",
            "functions",
            "logit_bias",
            "logprobs",
            "max_completion_tokens",
            "max_tokens",
            "metadata",
            "modalities",
            "n",
            "parallel_tool_calls",
            "prediction",
            "presence_penalty",
            "prompt_cache_key",
            "reasoning_effort",
            "response_format",
            "safety_identifier",
            "seed",
            "service_tier",
            "stop",
            "store",
            "stream",
            "stream_options",
            "temperature",
            "tool_choice",
            "tools",
            "top_logprobs",
            "top_p",
            "user",
            "verbosity",
            "web_search_options",
        ],
    ),
    (
        "chat_completions.messages[]",
        &[
            "annotations",
            "audio",
            "function_call",
            "name",
            "reasoning_content",
            "refusal",
            "tool_call_id",
            "tool_calls",
        ],
    ),
    (
        "messages",
        &[
            "cache_control",
            "container",
            "context_management",
            "mcp_servers",
            "metadata",
            "output_config",
            "output_format",
            "service_tier",
            "stop_sequences",
            "stream",
            "system",
            "temperature",
            "thinking",
            "tool_choice",
            "tools",
            "top_k",
            "top_p",
        ],
    ),
    (
        "messages.messages[].content[]",
        &["cache_control", "citations", "signature", "title"],
    ),
    (
        "responses",
        &[
            "background",
            "conversation",
            "include",
            "instructions",
            "max_output_tokens",
            "max_tool_calls",
            "metadata",
            "parallel_tool_calls",
            "previous_response_id",
            "prompt",
            "prompt_cache_key",
            "reasoning",
            "safety_identifier",
            "service_tier",
            "store",
            "stream",
            "stream_options",
            "temperature",
            "text",
            "tool_choice",
            "tools",
            "top_logprobs",
            "top_p",
            "truncation",
            "user",
        ],
    ),
    (
        "responses.input[]",
        &["encrypted_content", "id", "name", "status", "summary"],
    ),
];

type Known = BTreeMap<String, BTreeSet<String>>;

/// Calls `on_object` with each object of a request and the kind of its place.
fn each_object(value: &Value, place: &str, on_object: &mut dyn FnMut(&str, &Map<String, Value>)) {
    match value {
        Value::Object(members) => {
            on_object(place, members);
            for (name, value) in members {
                // The input of a call is the application's, that of a response is its items.
                let is_call = place.ends_with("content[]") && name == "input";
                if !is_call && !OPAQUE.contains(&name.as_str()) {
                    each_object(value, &format!("{place}.{name}"), on_object);
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                each_object(item, &format!("{place}[]"), on_object);
            }
        }
        _ => {}
    }
}

/// Returns the bodies with one more member that is null.
fn with_nulls(api: &str, request: &Value, known: &Known) -> Vec<(String, Value)> {
    let mut bodies = Vec::new();
    let mut number = 0;
    each_object(request, api, &mut |place, members| {
        for name in known.get(place).into_iter().flatten() {
            if !members.contains_key(name) {
                let mut changed = request.clone();
                let mut countdown = number;
                add_null(&mut changed, api, name, &mut countdown);
                bodies.push((format!("{place}.{name}"), changed));
            }
        }
        number += 1;
    });
    bodies
}

/// Adds a null to the object that comes after `countdown` others, in the order of [`each_object`].
fn add_null(value: &mut Value, place: &str, name: &str, countdown: &mut usize) -> bool {
    match value {
        Value::Object(members) => {
            if *countdown == 0 {
                members.insert(name.to_owned(), Value::Null);
                return true;
            }
            *countdown -= 1;
            members.iter_mut().any(|(own, value)| {
                let is_call = place.ends_with("content[]") && own == "input";
                !is_call
                    && !OPAQUE.contains(&own.as_str())
                    && add_null(value, &format!("{place}.{own}"), name, countdown)
            })
        }
        Value::Array(items) => items
            .iter_mut()
            .any(|item| add_null(item, &format!("{place}[]"), name, countdown)),
        _ => false,
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), without_nulls(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// Returns the request that a provider gets; `None` if it is refused.
fn translated(api: Api, provider: &BuiltInProvider, body: &Value) -> Option<Value> {
    let body = body.to_string().into_bytes();
    Envelope::parse(api, &body).ok()?;
    let target = Target {
        format: provider.format,
        model: provider.model,
        max_output_tokens: None,
        dialect: provider.dialect,
        auto_cache: false,
        serves_responses: false,
    };
    let outgoing = format::translate_request(api, &body, &target).ok()?;
    let sent = outgoing.body.unwrap_or(body);
    Some(without_nulls(&serde_json::from_slice(&sent).unwrap()))
}

fn check(api: Api, requests: &[Input]) {
    let requests: Vec<(&str, Value)> = requests
        .iter()
        .map(|input| {
            (
                input.name.as_str(),
                serde_json::from_slice(&input.content).unwrap(),
            )
        })
        .collect();
    let mut known: Known = FURTHER
        .iter()
        .map(|(place, names)| {
            let names = names.iter().map(|name| (*name).to_owned());
            ((*place).to_owned(), names.collect())
        })
        .collect();
    for (_, request) in &requests {
        each_object(request, api.name(), &mut |place, members| {
            let names = known.entry(place.to_owned()).or_default();
            names.extend(members.keys().cloned());
        });
    }
    // Their absence is an error of its own, or a member that is null on purpose.
    for (place, names) in &mut known {
        names.retain(|name| !matches!(name.as_str(), "model" | "type" | "role"));
        if place == api.name() {
            names.remove(api.conversation_field());
        }
    }
    let mut checked = 0;
    let mut seen = Vec::new();
    for provider in PROVIDERS {
        // Most providers of OpenAI's format are alike.
        if seen.contains(&(provider.format.name(), provider.dialect)) {
            continue;
        }
        seen.push((provider.format.name(), provider.dialect));
        for (name, request) in &requests {
            let Some(expected) = translated(api, provider, request) else {
                continue;
            };
            for (member, body) in with_nulls(api.name(), request, &known) {
                let what = format!("{name} with {member}: null for {}", provider.name);
                assert_eq!(
                    translated(api, provider, &body).as_ref(),
                    Some(&expected),
                    "{what}"
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 1000, "{}: {checked}", api.name());
}

#[test]
fn null_is_absent_in_chat_completions() {
    let folders = formats().map(|(_, name)| inputs(name, "requests", "in.json"));
    // Each folder has the same kinds of requests; a few of each are enough.
    let some: Vec<Input> = folders.flat_map(|all| all.into_iter().step_by(5)).collect();
    check(Api::CHAT_COMPLETIONS, &some);
}

#[test]
fn null_is_absent_in_the_other_apis() {
    for (api, name) in apis() {
        check(api, &inputs(name, "requests", "in.json"));
    }
}
