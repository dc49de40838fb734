//! Answers that are repeated for identical requests.

use std::time::Duration;

use opentracy_proto::v1;
use serde_json::{Value, json};

use crate::fake_envoy::{SentMessage, Vm};
use crate::tests::world::{
    SSE, alias, call, chat, chat_with, completion, failure, key, last_parts, part, post_with,
    snapshot,
};

/// Starts a gateway whose alias `cached` keeps answers for a minute, with two keys.
fn gateway() -> Vm {
    let mut snapshot = snapshot();
    let cached = |name: &str| v1::Alias {
        cache_ttl_ms: 60_000,
        ..alias(name, &["openai/small"])
    };
    snapshot.aliases.extend([cached("cached"), cached("other")]);
    snapshot.keys = vec![key("a"), key("b")];
    Vm::gateway_with(snapshot)
}

/// Makes a call with a key and returns what the client got.
fn ask(vm: &mut Vm, secret: &str, headers: &[(&str, &str)], body: &Value) -> SentMessage {
    let mut all = vec![("authorization", secret)];
    all.extend(headers);
    call(vm, &all, body)
}

const A: &str = "Bearer sk-a";
const B: &str = "Bearer sk-b";
const CACHE: &str = "x-opentracy-cache";

#[test]
fn an_identical_request_gets_the_same_answer_without_the_provider() {
    let mut vm = gateway();
    let first = ask(&mut vm, A, &[], &chat("cached"));
    assert_eq!(first.header(CACHE), "miss");
    let headers = [("authorization", A)];
    let mut exchange = chat_with(&mut vm, &headers, &chat("cached"));
    assert!(exchange.upstream().headers.is_empty());
    let second = exchange.client().clone();
    exchange.end();
    assert_eq!((second.status(), second.header(CACHE)), (200, "hit"));
    assert_eq!(second.header("x-opentracy-selected-model"), "openai/small");
    let (was, is) = (first.json(), second.json());
    assert_eq!(was["choices"], is["choices"]);
    assert_ne!(was["_routing"]["trace_id"], is["_routing"]["trace_id"]);
    assert_eq!(is["_cost"], 0.0, "no provider was paid");
    let records = vm.records();
    assert_eq!(records.traces.len(), 2);
    assert_eq!(records.attempts.len(), 1);
    assert_eq!(records.traces[1].cost.unwrap().total, 0.0);
}

#[test]
fn an_answer_is_kept_for_its_time() {
    let mut vm = gateway();
    ask(&mut vm, A, &[], &chat("cached"));
    vm.tick(Duration::from_millis(59_900));
    assert_eq!(ask(&mut vm, A, &[], &chat("cached")).header(CACHE), "hit");
    vm.tick(Duration::from_millis(100));
    assert_eq!(ask(&mut vm, A, &[], &chat("cached")).header(CACHE), "miss");
}

#[test]
fn another_key_alias_body_or_api_has_its_own_answer() {
    let mut vm = gateway();
    ask(&mut vm, A, &[], &chat("cached"));
    assert_eq!(ask(&mut vm, B, &[], &chat("cached")).header(CACHE), "miss");
    assert_eq!(ask(&mut vm, A, &[], &chat("other")).header(CACHE), "miss");
    let mut warmer = chat("cached");
    warmer["temperature"] = json!(1);
    assert_eq!(ask(&mut vm, A, &[], &warmer).header(CACHE), "miss");
    let headers = [("authorization", A)];
    let body = json!({"model": "cached", "max_tokens": 9,
        "messages": [{"role": "user", "content": "Hello"}]});
    ask(&mut vm, A, &[], &body);
    let mut exchange = post_with(&mut vm, "/v1/messages", &headers, &body);
    assert!(exchange.upstream().is_complete);
}

#[test]
fn a_client_can_do_without_the_cache() {
    let mut vm = gateway();
    ask(&mut vm, A, &[], &chat("cached"));
    let got = ask(&mut vm, A, &[(CACHE, "No-Cache")], &chat("cached"));
    assert_eq!(got.header(CACHE), "");
    assert_eq!(got.header("x-opentracy-attempts"), "1");
    assert_eq!(ask(&mut vm, A, &[], &chat("cached")).header(CACHE), "hit");
}

#[test]
fn an_alias_without_a_cache_has_no_cache_header() {
    let mut vm = gateway();
    for _ in 0..2 {
        let got = ask(&mut vm, A, &[], &chat("only"));
        assert_eq!((got.status(), got.header(CACHE)), (200, ""));
    }
}

#[test]
fn an_error_is_not_kept() {
    let mut vm = gateway();
    let headers = [("authorization", A)];
    let mut exchange = chat_with(&mut vm, &headers, &chat("cached"));
    exchange.respond(429, &[("content-type", "application/json")], &failure("no"));
    exchange.end();
    assert_eq!(ask(&mut vm, A, &[], &chat("cached")).header(CACHE), "miss");
}

#[test]
fn an_answer_over_the_limit_of_a_slot_is_not_kept() {
    let mut vm = gateway();
    let headers = [("authorization", A)];
    let mut exchange = chat_with(&mut vm, &headers, &chat("cached"));
    let long = completion(&"x".repeat(129 << 10));
    exchange.respond(200, &[("content-type", "application/json")], &long);
    exchange.end();
    assert_eq!(ask(&mut vm, A, &[], &chat("cached")).header(CACHE), "miss");
}

#[test]
fn a_stream_is_kept_once_it_is_complete() {
    let mut vm = gateway();
    let headers = [("authorization", A)];
    let mut body = chat("cached");
    body["stream"] = json!(true);
    for details in [
        "upstream_reset_after_response_started{connection_termination}",
        "downstream_remote_disconnect",
    ] {
        let mut cut = chat_with(&mut vm, &headers, &body);
        assert!(cut.upstream().is_complete, "a part is not kept");
        cut.begin_response(200, &SSE, false);
        cut.respond_more(&part("Hi"), false);
        cut.cut(details);
        cut.end();
    }
    let mut whole = chat_with(&mut vm, &headers, &body);
    assert!(whole.upstream().is_complete, "a part is not kept");
    whole.begin_response(200, &SSE, false);
    whole.respond_more(&part("Hi"), false);
    whole.respond_more(&last_parts(), true);
    whole.end();
    let mut again = chat_with(&mut vm, &headers, &body);
    assert!(again.upstream().headers.is_empty());
    let got = again.client();
    assert_eq!(got.header("content-type"), "text/event-stream");
    assert_eq!(got.header(CACHE), "hit");
    let text = got.text();
    assert!(
        text.contains("\"Hi\"") && text.ends_with("data: [DONE]\n\n"),
        "{text}"
    );
}
