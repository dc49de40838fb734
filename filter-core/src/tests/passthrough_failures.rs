//! Passthrough calls that fail, end early or are tried again, and the streams of providers.

use std::time::Duration;

use opentracy_proto::v1;
use serde_json::{Value, json};

use crate::fake_envoy::{Exchange, Vm};
use crate::tests::stages::{DONE, EVENTS, error, event, records_of};
use crate::tests::world::{JSON, alias, model, snapshot};

const COMPLETIONS: &str = "/v1/completions";
const REFUSED: &str = "upstream_reset_before_response_started{connection_failure}";

fn config() -> v1::Snapshot {
    let mut wire = snapshot();
    wire.models.push(model("openai", "embed"));
    wire.aliases.push(v1::Alias {
        retries: 2,
        ..alias("patient", &["openai/small"])
    });
    wire
}

/// Sends a request for a moderation, whose answer passes unchanged.
fn moderate(vm: &mut Vm) -> Exchange {
    vm.post("/v1/moderations", &json!({"input": "Hi"}))
}

/// Sends a request for an embedding, whose answer is held until it is complete.
fn embed(vm: &mut Vm) -> Exchange {
    let body = json!({"model": "openai/embed", "input": "Hi"});
    vm.post("/v1/embeddings", &body)
}

/// Returns an event of a completion's stream.
fn text(text: &str, usage: Value) -> Vec<u8> {
    event(&json!({"choices": [{"text": text}], "usage": usage}))
}

fn begin_stream(vm: &mut Vm) -> Exchange {
    let body = json!({"model": "small", "prompt": "Hi", "stream": true});
    let mut exchange = vm.post(COMPLETIONS, &body);
    // Masking may shorten a stream whose length is known.
    let headers = [EVENTS[0], ("content-length", "100")];
    exchange.begin_response(200, &headers, false);
    exchange
}

#[test]
fn a_reply_of_envoys_own_becomes_an_error_that_names_the_provider() {
    let mut vm = Vm::gateway_with(config());
    for (details, status, code, why) in [
        ("response_timeout", 504, "upstream_timeout", "timeout"),
        (REFUSED, 502, "upstream_unavailable", "connection_failed"),
        (
            "no_healthy_upstream",
            502,
            "upstream_unavailable",
            "no_healthy_host",
        ),
        (
            "cluster_not_found",
            502,
            "upstream_unavailable",
            "no_cluster",
        ),
    ] {
        let mut exchange = moderate(&mut vm);
        exchange.fail(503, details, &[("content-type", "text/plain")]);
        let got = exchange.client();
        assert_eq!((got.status(), got.is_complete), (status, true));
        assert_eq!(got.header("content-type"), "application/json");
        assert_eq!(got.header("content-length"), got.body.len().to_string());
        assert_eq!(got.header("x-opentracy-selected-model"), "openai");
        let error = got.json()["error"].clone();
        assert_eq!(error["code"], code);
        assert!(error["message"].as_str().unwrap().starts_with("openai "));
        let (trace, attempts) = records_of(&mut vm, exchange);
        assert_eq!(trace.status, u32::from(status));
        assert_eq!(trace.error.as_ref().unwrap().code, code);
        assert_eq!(trace.outcome(), v1::Outcome::Completed);
        assert_eq!(attempts[0].error, why);
        assert_eq!(attempts[0].status, 0, "the provider gave no answer");
    }
}

#[test]
fn envoy_tries_again_as_often_as_the_alias_says() {
    let mut vm = Vm::gateway_with(config());
    let body = json!({"model": "patient", "prompt": "Hi"});
    let mut exchange = vm.post(COMPLETIONS, &body);
    let sent = exchange.upstream();
    assert_eq!(sent.header("x-envoy-max-retries"), "2");
    assert_eq!(sent.header("x-envoy-retriable-status-codes"), "408,429");
    let retry_on = sent.header("x-envoy-retry-on").to_owned();
    let causes: Vec<&str> = retry_on.split(',').collect();
    for cause in ["5xx", "reset", "connect-failure", "retriable-status-codes"] {
        assert!(causes.contains(&cause), "{cause}");
    }
    let mut once = vm.post(COMPLETIONS, &json!({"model": "small", "prompt": "Hi"}));
    assert_eq!(once.upstream().header("x-envoy-retry-on"), "");
    assert_eq!(once.upstream().header("x-envoy-max-retries"), "");
}

#[test]
fn an_answer_has_to_begin_within_the_providers_timeout() {
    let mut vm = Vm::gateway_with(config());
    let mut exchange = moderate(&mut vm);
    let timeout = "x-envoy-upstream-rq-per-try-timeout-ms";
    assert_eq!(exchange.upstream().header(timeout), "5000");
}

#[test]
fn a_held_answer_that_does_not_end_in_time_is_an_error() {
    let mut vm = Vm::gateway_with(config());
    let mut exchange = embed(&mut vm);
    exchange.begin_response(200, &JSON, false);
    for _ in 0..4 {
        vm.tick(Duration::from_secs(1));
        exchange.respond_more(b" ", false);
        assert_eq!(exchange.client().status(), 0);
    }
    vm.tick(Duration::from_secs(1));
    let got = exchange.client();
    assert_eq!((got.status(), got.is_complete), (504, true));
    assert_eq!(got.json()["error"]["code"], "upstream_timeout");
    let (trace, attempts) = records_of(&mut vm, exchange);
    assert_eq!(trace.status, 504);
    assert_eq!(attempts[0].error, "timeout");
}

#[test]
fn an_answer_that_pauses_for_too_long_is_closed() {
    let mut vm = Vm::gateway_with(config());
    let mut exchange = begin_stream(&mut vm);
    for _ in 0..3 {
        exchange.respond_more(&text("Hi", Value::Null), false);
        vm.tick(Duration::from_secs(4));
        assert!(!exchange.is_closed(), "each chunk starts the time again");
    }
    vm.tick(Duration::from_millis(1100));
    assert!(exchange.is_closed());
    let (trace, attempts) = records_of(&mut vm, exchange);
    assert_eq!(trace.error.as_ref().unwrap().code, "upstream_timeout");
    assert_eq!(attempts[0].error, "timeout");
    assert_ne!(trace.outcome(), v1::Outcome::ClientDisconnected);
}

#[test]
fn an_answer_that_ended_has_no_deadline() {
    let mut vm = Vm::gateway_with(config());
    let mut exchange = begin_stream(&mut vm);
    exchange.respond_more(DONE, true);
    vm.tick(Duration::from_secs(20));
    assert!(!exchange.is_closed());
}

#[test]
fn a_stream_passes_chunk_by_chunk_and_its_usage_is_recorded() {
    let mut vm = Vm::gateway_with(config());
    let mut exchange = begin_stream(&mut vm);
    assert_eq!(exchange.client().status(), 200);
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 2});
    let chunks = [text("Hel", Value::Null), text("lo", usage), DONE.to_vec()];
    for (index, chunk) in chunks.iter().enumerate() {
        exchange.respond_more(chunk, index == 2);
        assert_eq!(exchange.client().body, chunks[..=index].concat());
    }
    let (trace, _) = records_of(&mut vm, exchange);
    assert!(trace.stream);
    let usage = trace.usage.unwrap();
    assert_eq!((usage.input, usage.output), (3, 2));
    assert!((trace.cost.unwrap().total - 5e-6).abs() < 1e-12);
    assert_eq!(trace.response, chunks.concat());
}

#[test]
fn keys_in_a_streams_errors_are_masked_wherever_the_chunks_end() {
    let whole = [
        text("the text", Value::Null),
        event(&json!({"error": {"message": "bad key-of-openai"}})),
    ]
    .concat();
    let mut vm = Vm::gateway_with(config());
    for size in [1, 7, 1000] {
        let mut exchange = begin_stream(&mut vm);
        for chunk in whole.chunks(size) {
            exchange.respond_more(chunk, false);
        }
        exchange.respond_more(b"", true);
        let got = exchange.client();
        assert_eq!(got.header("content-length"), "");
        let text = got.text();
        assert!(text.contains("the text"), "{text}");
        assert!(text.contains("bad "), "{text}");
        assert!(!text.contains("key-of-openai"), "{text}");
    }
}

#[test]
fn a_client_that_leaves_is_told_apart_from_a_provider_that_does() {
    let mut vm = Vm::gateway_with(config());
    for (details, outcome) in [
        (
            "downstream_remote_disconnect",
            v1::Outcome::ClientDisconnected,
        ),
        (
            "upstream_reset_after_response_started{connection_termination}",
            v1::Outcome::UpstreamBrokeOff,
        ),
    ] {
        let mut exchange = begin_stream(&mut vm);
        exchange.respond_more(&text("Hi", Value::Null), false);
        exchange.cut(details);
        let (trace, _) = records_of(&mut vm, exchange);
        assert_eq!(trace.outcome(), outcome);
        assert_eq!(trace.status, 200);
    }
}

#[test]
fn a_call_that_nobody_answered_is_recorded_without_an_attempt() {
    let mut vm = Vm::gateway_with(config());
    let mut exchange = moderate(&mut vm);
    exchange.cut("downstream_remote_disconnect");
    let (trace, attempts) = records_of(&mut vm, exchange);
    assert_eq!(trace.status, 0);
    assert_eq!(trace.outcome(), v1::Outcome::ClientDisconnected);
    assert!(attempts.is_empty());
}

#[test]
fn an_embedding_that_can_not_be_read_is_an_error() {
    let mut vm = Vm::gateway_with(config());
    let body = json!({"model": "anthropic/m", "input": "Hi"});
    let mut unsupported = vm.post("/v1/embeddings", &body);
    assert_eq!(unsupported.client().status(), 400);
    let mut exchange = embed(&mut vm);
    exchange.respond(200, &JSON, &error("no"));
    let got = exchange.client();
    assert!(got.is_complete, "{}", got.text());
}

#[test]
fn bodies_that_do_not_fit_in_memory_are_refused() {
    let mut vm = Vm::gateway_with(config());
    let mut held = embed(&mut vm);
    vm.envoy.set_memory(640 << 20);
    let mut exchange = embed(&mut vm);
    held.respond(200, &JSON, &error("no"));
    for exchange in [&mut exchange, &mut held] {
        let got = exchange.client();
        assert_eq!(got.status(), 503);
        assert_eq!(got.json()["error"]["code"], "gateway_overloaded");
    }
}
