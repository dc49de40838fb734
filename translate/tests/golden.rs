//! Fixtures: what goes in and what must come out, as files in `fixtures/<format>/`.
//!
//! | folder | in | out |
//! |---|---|---|
//! | `requests` | `NAME.in.json`, an OpenAI request | `NAME.out.json`, the provider's, or `{"refused": …}` |
//! | `dialects/PROVIDER` | the same for a provider of OpenAI's format | |
//! | `responses` | `NAME.in.json`, a provider's answer | `NAME.out.json`, OpenAI's |
//! | `errors` | `STATUS-NAME.in.json`, a provider's error | `STATUS-NAME.out.json`, OpenAI's, with its status |
//! | `streams` | `NAME.in.sse`, a provider's events | `NAME.out.sse`, OpenAI's chunks |
//!
//! The model of a request is the one in it, without `provider/`. `UPDATE_GOLDEN=1 cargo test -p opentracy-translate`
//! writes the outputs anew; review them as a diff.

mod fixtures;

use std::collections::BTreeMap;

use opentracy_translate::error::ApiError;
use opentracy_translate::format::{self, Target};
use opentracy_translate::openai::dialect::{self, Dialect};
use opentracy_translate::openai::envelope::Envelope;
use opentracy_translate::provider::{Format, PROVIDERS};
use serde_json::{Value, json};

use crate::fixtures::{CREATED, FORMATS, Input, check, inputs, translate_stream};

#[test]
fn requests_are_what_the_provider_wants() {
    for (format, name) in FORMATS {
        for input in inputs(name, "requests", "in.json") {
            check_request(&input, format, &dialect::OPENAI);
        }
    }
}

#[test]
fn requests_are_in_the_providers_dialect() {
    for provider in PROVIDERS {
        for input in inputs("dialects", provider.name, "in.json") {
            check_request(&input, provider.format, provider.dialect);
        }
    }
}

fn check_request(input: &Input, format: Format, dialect: &Dialect) {
    let envelope = Envelope::parse(&input.content).unwrap();
    let model = envelope
        .model
        .split_once('/')
        .map_or(&*envelope.model, |(_, model)| model);
    let target = Target {
        format,
        model,
        max_output_tokens: None,
        dialect,
    };
    let output = match format::translate_request(&input.content, &target) {
        Ok(outgoing) => parse(&outgoing.body.unwrap_or(input.content.clone())),
        Err(error) => json!({"refused": told(&error)}),
    };
    check(input, "out.json", &pretty(&output));
}

#[test]
fn responses_are_what_openai_would_have_said() {
    for (format, name) in FORMATS {
        for input in inputs(name, "responses", "in.json") {
            let output = match format::translate_response(format, &input.content, CREATED) {
                Ok(translated) => parse(&translated.unwrap_or(input.content.clone())),
                Err(error) => told(&error),
            };
            check(&input, "out.json", &pretty(&output));
        }
    }
}

#[test]
fn errors_are_what_openai_would_have_said() {
    for (format, name) in FORMATS {
        for input in inputs(name, "errors", "in.json") {
            let status = input.name.split('-').next().unwrap().parse().unwrap();
            let error = format::translate_error(format, name, status, &input.content);
            check(&input, "out.json", &pretty(&told(&error)));
        }
    }
}

#[test]
fn streams_are_what_openai_would_have_sent() {
    for (format, name) in FORMATS {
        for input in inputs(name, "streams", "in.sse") {
            let output = translate_stream(format, &[&input.content]);
            check(&input, "out.sse", &output);
        }
    }
}

#[test]
fn every_format_has_fixtures() {
    for (format, name) in FORMATS {
        for (folder, ending) in [
            ("requests", "in.json"),
            ("responses", "in.json"),
            ("streams", "in.sse"),
            ("errors", "in.json"),
        ] {
            let count = inputs(name, folder, ending).len();
            assert!(
                count > 0 || format == Format::OpenAi,
                "no {folder} for {name}"
            );
        }
    }
}

fn told(error: &ApiError) -> Value {
    let mut body = parse(&error.to_json());
    body["status"] = error.status.into();
    body
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// With sorted keys, whatever order this build of `serde_json` keeps them in.
fn pretty(value: &Value) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(&sorted(value)).unwrap();
    text.push(b'\n');
    text
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<_, _> = members
                .iter()
                .map(|(name, value)| (name, sorted(value)))
                .collect();
            members
                .into_iter()
                .map(|(name, value)| (name.clone(), value))
                .collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}
