//! Failed attempts of the provider stage: which are marked for a retry, and their records.

use std::time::Duration;

use opentracy_proto::v1;
use serde_json::{Value, json};

use crate::fake_envoy::{Exchange, LOCAL_REPLY, Vm};
use crate::tests::stages::{EVENTS, all_formats, attempt, attempt_log, chunk, error, event};
use crate::tests::world::{JSON, chat, completion, snapshot};

const CHAIN: [&str; 2] = ["openai/small", "second/large"];

/// Returns the first of two attempts, at a provider that has one key.
fn first(vm: &mut Vm) -> Exchange {
    attempt(vm, &CHAIN, 1, &chat("chain"))
}

fn is_retried(exchange: &mut Exchange) -> bool {
    exchange.client().header("x-opentracy-retry") == "1"
}

/// Returns the reason in the newest entry of an answer's log.
fn reason(exchange: &mut Exchange) -> Value {
    let log = attempt_log(exchange.client());
    log.as_array().unwrap().last().unwrap()["summary"]["error"].clone()
}

/// Ends an exchange and returns the record of its attempt.
fn record(vm: &mut Vm, exchange: Exchange) -> v1::Attempt {
    exchange.end();
    vm.records().attempts.remove(0)
}

#[test]
fn failures_that_another_candidate_may_avoid_are_marked_for_a_retry() {
    let mut vm = Vm::provider_with(snapshot());
    for (status, is_marked) in [
        (400, false),
        (401, false),
        (403, false),
        (404, false),
        (408, true),
        (413, false),
        (422, false),
        (429, true),
        (500, true),
        (502, true),
        (503, true),
        (504, true),
        (529, true),
    ] {
        let mut exchange = first(&mut vm);
        exchange.respond(status, &JSON, &error("no"));
        assert_eq!(is_retried(&mut exchange), is_marked, "{status}");
        let got = exchange.client();
        assert!(got.json()["error"]["message"].is_string());
        let log = attempt_log(got);
        let log = log.as_array().unwrap().last().unwrap();
        assert_eq!(log["summary"]["status"], status);
    }
}

#[test]
fn an_overloaded_provider_keeps_its_own_status_in_the_log() {
    let mut vm = Vm::provider_with(snapshot());
    let mut exchange = attempt(&mut vm, &["anthropic/m"], 1, &chat("alias"));
    let body = br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    exchange.respond(529, &JSON, body);
    let got = exchange.client();
    assert_eq!(got.status(), 503);
    assert_eq!(got.json()["error"]["message"], "Overloaded");
    assert_eq!(attempt_log(got)[0]["summary"]["status"], 529);
    assert_eq!(record(&mut vm, exchange).status, 529);
}

#[test]
fn a_refused_key_is_worth_a_retry_if_the_provider_has_more() {
    let mut vm = Vm::provider_with(all_formats());
    for status in [401, 403] {
        for (model, is_marked) in [("several/m", true), ("openai/m", false)] {
            let mut exchange = attempt(&mut vm, &[model], 1, &chat("alias"));
            exchange.respond(status, &JSON, &error("no"));
            assert_eq!(is_retried(&mut exchange), is_marked, "{status} of {model}");
        }
    }
}

#[test]
fn an_error_as_the_first_event_is_an_error_with_a_status() {
    let mut vm = Vm::provider_with(snapshot());
    let overloaded = json!({"error": {"message": "too busy", "code": 503}});
    let mut exchange = first(&mut vm);
    exchange.respond(200, &EVENTS, &event(&overloaded));
    let got = exchange.client();
    assert_eq!(got.status(), 503);
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(got.json()["error"]["message"], "too busy");
    assert!(is_retried(&mut exchange));
    assert_eq!(reason(&mut exchange), "overloaded");
}

#[test]
fn a_stream_that_ends_before_it_begins_is_retried() {
    let mut vm = Vm::provider_with(snapshot());
    let mut exchange = first(&mut vm);
    exchange.begin_response(200, &EVENTS, false);
    exchange.respond_more(b": nothing\n\n", true);
    assert_eq!(exchange.client().status(), 502);
    assert!(is_retried(&mut exchange));
}

#[test]
fn an_error_in_a_body_with_status_200_is_an_error() {
    let mut vm = Vm::provider_with(snapshot());
    let mut exchange = first(&mut vm);
    exchange.respond(200, &JSON, &error("out of order"));
    let got = exchange.client();
    assert!(got.status() >= 500, "{}", got.status());
    assert_eq!(got.json()["error"]["message"], "out of order");
    assert!(is_retried(&mut exchange));
}

#[test]
fn an_answer_that_is_not_json_is_an_error_that_is_retried() {
    let mut vm = Vm::provider_with(snapshot());
    let mut exchange = attempt(&mut vm, &["anthropic/m"], 1, &chat("alias"));
    exchange.respond(200, &JSON, b"<html>");
    assert_eq!(exchange.client().status(), 502);
    assert!(is_retried(&mut exchange));
}

#[test]
fn silence_ends_an_attempt_at_its_deadline() {
    let mut vm = Vm::provider_with(snapshot());
    let starts: [fn(&mut Exchange); 4] = [
        |_| {},
        |exchange| exchange.begin_response(200, &EVENTS, false),
        |exchange| exchange.begin_response(200, &JSON, false),
        |exchange| {
            exchange.begin_response(200, &JSON, false);
            exchange.respond_more(b"{", false);
        },
    ];
    for start in starts {
        let mut exchange = first(&mut vm);
        start(&mut exchange);
        vm.tick(Duration::from_millis(4900));
        assert_eq!(exchange.client().status(), 0);
        vm.tick(Duration::from_millis(200));
        let got = exchange.client();
        assert_eq!((got.status(), got.is_complete), (504, true));
        assert_eq!(got.json()["error"]["code"], "upstream_timeout");
        assert!(is_retried(&mut exchange));
        assert_eq!(reason(&mut exchange), "timeout");
        let record = record(&mut vm, exchange);
        assert_eq!((record.status, record.error.as_str()), (0, "timeout"));
    }
}

#[test]
fn a_stream_that_pauses_for_too_long_is_closed() {
    let mut vm = Vm::provider_with(snapshot());
    let mut exchange = first(&mut vm);
    exchange.begin_response(200, &EVENTS, false);
    for _ in 0..3 {
        exchange.respond_more(&chunk("Hi"), false);
        vm.tick(Duration::from_secs(4));
        assert!(!exchange.is_closed(), "each chunk starts the time again");
    }
    vm.tick(Duration::from_secs(2));
    assert!(exchange.is_closed());
    assert_eq!(record(&mut vm, exchange).error, "timeout");
}

#[test]
fn a_reply_of_envoys_own_tells_why_the_provider_gave_none() {
    let mut vm = Vm::provider_with(snapshot());
    for (details, status, why) in [
        ("upstream_response_timeout", 504, "timeout"),
        (
            "upstream_reset_before_response_started{connection_failure}",
            502,
            "connection_failed",
        ),
        (
            "upstream_reset_before_response_started{connection_termination}",
            502,
            "connection_reset",
        ),
        (
            "upstream_reset_before_response_started{overflow}",
            503,
            "overloaded",
        ),
        ("no_healthy_upstream", 502, "no_healthy_host"),
        ("cluster_not_found", 502, "no_cluster"),
    ] {
        let mut exchange = first(&mut vm);
        exchange.fail(503, details, &LOCAL_REPLY);
        let got = exchange.client();
        assert_eq!(got.status(), status, "{details}");
        assert_eq!(got.header("x-opentracy-local-reply"), "");
        assert!(is_retried(&mut exchange));
        assert_eq!(reason(&mut exchange), why);
        let record = record(&mut vm, exchange);
        assert_eq!((record.status, record.error.as_str()), (0, why));
    }
}

#[test]
fn a_field_that_a_provider_does_not_support_leads_to_the_next_candidate() {
    let mut vm = Vm::provider_with(snapshot());
    let mut body = chat("alias");
    body["logprobs"] = json!(true);
    let plan = ["anthropic/m", "openai/small"];
    let mut exchange = attempt(&mut vm, &plan, 1, &body);
    assert!(exchange.upstream().headers.is_empty());
    let got = exchange.client();
    assert_eq!(got.status(), 400);
    assert_eq!(got.json()["error"]["param"], "logprobs");
    assert!(is_retried(&mut exchange));
    assert_eq!(reason(&mut exchange), "refused_by_gateway");
    assert_eq!(record(&mut vm, exchange).error, "refused_by_gateway");
    let mut next = attempt(&mut vm, &plan, 2, &body);
    assert_eq!(next.upstream().json()["logprobs"], true);
}

#[test]
fn a_request_that_is_wrong_everywhere_is_not_retried() {
    let mut vm = Vm::provider_with(snapshot());
    let body = json!({"model": "alias", "messages": "Hello"});
    let mut exchange = attempt(&mut vm, &["anthropic/m", "openai/small"], 1, &body);
    assert_eq!(exchange.client().status(), 400);
    assert!(!is_retried(&mut exchange));
}

#[test]
fn the_log_travels_with_each_answer_until_one_succeeds() {
    let mut vm = Vm::provider_with(snapshot());
    let mut failed = first(&mut vm);
    failed.respond(429, &[("retry-after", "7")], &error("slow down"));
    let log = attempt_log(failed.client());
    failed.end();
    let first_entry = json!([{"number": 1, "summary": {"provider": "openai", "model": "small",
        "status": 429, "error": "rate_limit", "latency_ms": 0, "retry_after": 7}}]);
    assert_eq!(log, first_entry);
    let mut succeeds = attempt(&mut vm, &CHAIN, 2, &chat("chain"));
    vm.tick(Duration::from_millis(300));
    succeeds.respond(200, &JSON, &completion("Hi"));
    let log = attempt_log(succeeds.client());
    succeeds.end();
    assert_eq!(log[0], first_entry[0]);
    assert_eq!(log[1]["number"], 2);
    assert_eq!(log[1]["summary"]["error"], Value::Null);
    assert_eq!(log[1]["summary"]["latency_ms"], 300);
    let mut later = first(&mut vm);
    later.respond(200, &JSON, &completion("Hi"));
    let log = attempt_log(later.client());
    assert_eq!(log.as_array().unwrap().len(), 1, "the log is forgotten");
}

#[test]
fn a_body_that_does_not_fit_in_memory_is_refused_for_now() {
    let mut vm = Vm::provider_with(snapshot());
    vm.envoy.set_memory(640 << 20);
    let mut exchange = first(&mut vm);
    assert!(exchange.upstream().headers.is_empty());
    assert_eq!(exchange.client().status(), 503);
    assert_eq!(
        exchange.client().json()["error"]["code"],
        "gateway_overloaded"
    );
    assert!(is_retried(&mut exchange));
    assert_eq!(record(&mut vm, exchange).error, "refused_by_gateway");
}

#[test]
fn an_answer_that_does_not_fit_in_memory_is_refused() {
    let mut vm = Vm::provider_with(snapshot());
    let mut exchange = first(&mut vm);
    vm.envoy.set_memory(640 << 20);
    exchange.respond(200, &JSON, &completion("Hi"));
    assert_eq!(exchange.client().status(), 503);
    assert_eq!(reason(&mut exchange), "refused_by_gateway");
}

#[test]
fn a_successful_attempt_is_recorded() {
    let mut vm = Vm::provider_with(snapshot());
    let mut exchange = attempt(&mut vm, &CHAIN, 2, &chat("chain"));
    vm.tick(Duration::from_millis(400));
    exchange.respond(200, &JSON, &completion("Hi"));
    let record = record(&mut vm, exchange);
    assert_eq!((record.trace_id.as_str(), record.number), ("trace-1", 2));
    assert_eq!(record.provider, "second");
    assert_eq!(record.model, "large");
    assert_eq!((record.status, record.error.as_str()), (200, ""));
    assert_eq!(record.latency_micros, 400_000);
}

#[test]
fn an_attempt_that_was_canceled_was_late_or_abandoned() {
    let mut vm = Vm::provider_with(snapshot());
    for (wait_ms, why) in [(1000, "abandoned"), (5000, "timeout")] {
        let mut exchange = first(&mut vm);
        // Only Envoy's clock moves, so that the stage's own deadline isn't what ends it.
        vm.envoy.advance(Duration::from_millis(wait_ms));
        exchange.cut("downstream_remote_disconnect");
        let record = record(&mut vm, exchange);
        assert_eq!((record.status, record.error.as_str()), (0, why));
    }
    let mut exchange = first(&mut vm);
    exchange.cut("upstream_reset_before_response_started{connection_termination}");
    assert_eq!(record(&mut vm, exchange).error, "connection_reset");
}

#[test]
fn a_stream_that_breaks_off_is_recorded_as_such() {
    let mut vm = Vm::provider_with(snapshot());
    let broken = event(&json!({"error": {"message": "oh", "code": 500}}));
    for last in [&broken[..], b""] {
        let mut exchange = attempt(&mut vm, &["anthropic/m"], 1, &chat("alias"));
        exchange.begin_response(200, &EVENTS, false);
        let begin = json!({"type": "message_start", "message": {"id": "m", "type": "message",
            "role": "assistant", "content": [], "model": "m", "stop_reason": null,
            "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1}}});
        let delta = json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "text_delta", "text": "Hi"}});
        let block = json!({"type": "content_block_start", "index": 0,
            "content_block": {"type": "text", "text": ""}});
        exchange.respond_more(
            &[event(&begin), event(&block), event(&delta)].concat(),
            false,
        );
        assert_eq!(exchange.client().status(), 200);
        exchange.respond_more(last, true);
        let text = exchange.client().text();
        assert!(
            text.contains("\"error\""),
            "the client gets an error: {text}"
        );
        let record = record(&mut vm, exchange);
        assert_eq!((record.status, record.error.as_str()), (200, "broke_off"));
    }
}

#[test]
fn the_log_is_forgotten_once_no_other_attempt_follows() {
    let mut vm = Vm::provider_with(snapshot());
    let ends: [fn(&mut Exchange); 3] = [
        |exchange| exchange.respond(400, &JSON, &error("wrong everywhere")),
        |exchange| exchange.cut("downstream_remote_disconnect"),
        |exchange| {
            exchange.begin_response(200, &EVENTS, false);
            exchange.respond_more(&chunk("Hi"), false);
            exchange.cut("upstream_reset_after_response_started{connection_termination}");
        },
    ];
    for end in ends {
        let mut exchange = first(&mut vm);
        end(&mut exchange);
        exchange.end();
        let mut later = first(&mut vm);
        later.respond(200, &JSON, &completion("Hi"));
        let log = attempt_log(later.client());
        later.end();
        assert_eq!(log.as_array().unwrap().len(), 1, "{log}");
    }
}
