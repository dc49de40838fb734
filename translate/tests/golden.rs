//! Golden fixtures: inputs and expected outputs, as files in `fixtures/<format>/`.
//!
//! | folder | input | output |
//! |---|---|---|
//! | `requests` | `NAME.in.json`: OpenAI's | `NAME.out.json`: the provider's, or `{"refused": …}` |
//! | `dialects/PROVIDER` | the same, for a provider of OpenAI's format | |
//! | `responses` | `NAME.in.json`: a provider's | `NAME.out.json`: OpenAI's |
//! | `errors` | `STATUS-NAME.in.json`: a provider's | `STATUS-NAME.out.json`: OpenAI's and status |
//! | `streams` | `NAME.in.sse` (AWS: `.jsonl`): a provider's | `NAME.out.sse`: OpenAI's chunks |
//!
//! For the other client APIs, `messages` and `responses`, the direction is reversed: their requests
//! become chat completion requests, and OpenAI's answers and streams become theirs.
//!
//! The model of a request is the one in it, without `provider/`. To rewrite the outputs, run
//! `UPDATE_GOLDEN=1 cargo test -p opentracy-translate`; review them as a diff.

mod fixtures;

use opentracy_translate::client::Api;
use opentracy_translate::error::ApiError;
use opentracy_translate::exchange::Target;
use opentracy_translate::format;
use opentracy_translate::openai::dialect::{self, Dialect};
use opentracy_translate::openai::envelope::Envelope;
use opentracy_translate::provider::PROVIDERS;
use opentracy_translate::wire_format::Format;
use serde_json::{Value, json};

use crate::fixtures::{
    Input, apis, check, formats, inputs, origin, sorted, streams, translate_stream,
};

#[test]
fn requests_are_what_the_provider_wants() {
    for (format, name) in formats() {
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
    let envelope = Envelope::parse(Api::CHAT_COMPLETIONS, &input.content).unwrap();
    let model = envelope
        .model
        .split_once('/')
        .map_or(&*envelope.model, |(_, model)| model);
    let target = Target {
        format,
        model,
        max_output_tokens: None,
        dialect,
        auto_cache: input.name.contains("auto-cache"),
        serves_responses: false,
    };
    let output = match format::translate_request(Api::CHAT_COMPLETIONS, &input.content, &target) {
        Ok(outgoing) => parse(&outgoing.body.unwrap_or(input.content.clone())),
        Err(error) => json!({"refused": told(&error)}),
    };
    check(input, "out.json", &pretty(&output));
}

#[test]
fn responses_are_what_openai_would_have_said() {
    for (format, name) in formats() {
        for input in inputs(name, "responses", "in.json") {
            let origin = origin(Api::CHAT_COMPLETIONS, format);
            let output = match format::translate_response(&input.content, &origin) {
                Ok(translated) => parse(&translated.unwrap_or(input.content.clone())),
                Err(error) => told(&error),
            };
            check(&input, "out.json", &pretty(&output));
        }
    }
}

#[test]
fn errors_are_what_openai_would_have_said() {
    for (format, name) in formats() {
        for input in inputs(name, "errors", "in.json") {
            let status = input.name.split('-').next().unwrap().parse().unwrap();
            let error = format::translate_error(format, name, status, &input.content);
            check(&input, "out.json", &pretty(&told(&error)));
        }
    }
}

#[test]
fn streams_are_what_openai_would_have_sent() {
    for (format, name) in formats() {
        for input in streams(name) {
            let origin = origin(Api::CHAT_COMPLETIONS, format);
            let output = translate_stream(&origin, &[&input.content]);
            check(&input, "out.sse", &output);
        }
    }
}

#[test]
fn every_format_has_fixtures() {
    for (format, name) in formats() {
        // OpenAI's own format is not translated.
        if format == Format::OPENAI {
            continue;
        }
        let wanted = if format == Format::COHERE { 20 } else { 40 };
        let requests = inputs(name, "requests", "in.json").len();
        let answers = inputs(name, "responses", "in.json").len() + streams(name).len();
        let errors = inputs(name, "errors", "in.json").len();
        assert!(
            requests >= wanted && answers >= wanted && errors >= 6,
            "{name}: {requests} requests, {answers} answers, {errors} errors"
        );
    }
}

#[test]
fn requests_of_other_apis_are_chat_completions() {
    for (api, name) in apis() {
        for input in inputs(name, "requests", "in.json") {
            let output = match api.to_chat(&input.content, "the-model", true) {
                Ok(chat) => parse(&chat.unwrap()),
                Err(error) => json!({"refused": told(&error)}),
            };
            check(&input, "out.json", &pretty(&output));
        }
    }
}

#[test]
fn answers_to_other_apis_are_what_their_providers_would_have_said() {
    for (api, name) in apis() {
        let origin = origin(api, Format::OPENAI);
        for input in inputs(name, "responses", "in.json") {
            let output = match format::translate_response(&input.content, &origin) {
                Ok(translated) => parse(&translated.unwrap()),
                Err(error) => told(&error),
            };
            check(&input, "out.json", &pretty(&output));
        }
        for input in inputs(name, "streams", "in.sse") {
            let output = translate_stream(&origin, &[&input.content]);
            check(&input, "out.sse", &sorted_events(&output));
        }
    }
}

/// Parses events and sorts their keys, for events that aren't written key by key.
fn sorted_events(stream: &[u8]) -> Vec<u8> {
    let lines = String::from_utf8_lossy(stream)
        .lines()
        .map(|line| match line.strip_prefix("data: ") {
            Some(data) => format!("data: {}\n", sorted(&parse(data.as_bytes()))),
            None => format!("{line}\n"),
        })
        .collect::<String>();
    lines.into_bytes()
}

fn told(error: &ApiError) -> Value {
    let mut body = parse(&error.to_json());
    body["status"] = error.status.into();
    if let Some(seconds) = error.retry_after {
        body["retry_after"] = seconds.into();
    }
    body
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// Sorts keys, whichever order this build of `serde_json` keeps them in.
fn pretty(value: &Value) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(&sorted(value)).unwrap();
    text.push(b'\n');
    text
}
