//! The number of host calls of a request. In a wasm VM each is a way out and back, and one that
//! returns data also calls the VM for memory.

use opentracy_proto::v1;
use serde_json::{Value, json};

use crate::fake_envoy::{Upstream, Vm};
use crate::tests::limits::world::{TEAM, concurrent, grant, limited};
use crate::tests::stages::Stages;
use crate::tests::world::{
    CHAT, JSON, SSE, alias, chat, chat_with, completion, last_parts, part, snapshot,
};

type Calls = Vec<(&'static str, usize)>;

/// The calls of a request whose body or answer needs no translation but the model's name.
const PASSED: [(&str, usize); 8] = [
    ("clear_route_cache", 1),
    ("replace_request_body", 1),
    ("request_body", 1),
    ("request_headers", 1),
    ("response_body", 1),
    ("response_headers", 1),
    ("set_request_headers", 1),
    ("set_response_body", 1),
];

/// Returns the calls of a call with a whole answer, once the VM knows its provider.
fn calls_of(vm: &mut Vm, headers: &[(&str, &str)], body: &Value, answer: &[u8]) -> Calls {
    for _ in 0..2 {
        vm.envoy.take_calls();
        let mut exchange = chat_with(vm, headers, body);
        exchange.respond(200, &JSON, answer);
        assert_eq!(exchange.client().status(), 200);
        exchange.end();
    }
    vm.envoy.take_calls()
}

/// Returns the calls of [`PASSED`] and the one that sets the response's headers.
fn passed() -> Calls {
    let mut calls = PASSED.to_vec();
    calls.push(("set_response_headers", 1));
    calls
}

#[test]
fn a_request_that_passes_reads_and_writes_headers_and_bodies_once() {
    let mut vm = Vm::gateway_with(snapshot());
    let calls = calls_of(&mut vm, &[], &chat("openai/small"), &completion("Hi"));
    assert_eq!(calls, passed());
}

#[test]
fn a_translated_request_makes_no_more_calls() {
    let mut vm = Vm::gateway_with(snapshot());
    let answer = json!({
        "id": "m", "type": "message", "role": "assistant", "model": "claude",
        "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 10, "output_tokens": 5},
    });
    let answer = answer.to_string().into_bytes();
    let calls = calls_of(&mut vm, &[], &chat("anthropic/claude"), &answer);
    assert_eq!(calls, passed());
}

#[test]
fn limits_with_leases_make_no_further_calls() {
    let mut vm = Vm::gateway_with(limited(concurrent(100)));
    let mut first = chat_with(&mut vm, &TEAM, &chat("openai/small"));
    grant(&mut vm, &mut first, 50);
    first.end();
    let calls = calls_of(&mut vm, &TEAM, &chat("openai/small"), &completion("Hi"));
    assert_eq!(calls, passed());
}

#[test]
fn an_answer_from_the_cache_reads_it_and_replies() {
    let mut snapshot = snapshot();
    snapshot.aliases.push(v1::Alias {
        cache_ttl_ms: 60_000,
        ..alias("cached", &["openai/small"])
    });
    let mut vm = Vm::gateway_with(snapshot);
    let mut first = vm.post(CHAT, &chat("cached"));
    first.respond(200, &JSON, &completion("Hi"));
    first.end();
    vm.envoy.take_calls();
    let mut second = vm.post(CHAT, &chat("cached"));
    assert_eq!(second.client().header("x-opentracy-cache"), "hit");
    second.end();
    let expected = [
        ("request_body", 1),
        ("request_headers", 1),
        // The mark of an own reply.
        ("set_request_header", 1),
        ("shared_data", 1),
    ];
    assert_eq!(vm.envoy.take_calls(), expected);
}

#[test]
fn a_chunk_that_passes_is_read_and_not_written() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut body = chat("openai/small");
    body["stream"] = json!(true);
    let mut exchange = vm.post(CHAT, &body);
    exchange.begin_response(200, &SSE, false);
    exchange.respond_more(&part("H"), false);
    vm.envoy.take_calls();
    exchange.respond_more(&part("i"), false);
    assert_eq!(vm.envoy.take_calls(), [("response_body", 1)]);
    exchange.respond_more(&last_parts(), true);
    let last = [("response_body", 1), ("set_response_body", 1)];
    assert_eq!(vm.envoy.take_calls(), last);
}

#[test]
fn a_plan_of_several_attempts_adds_those_of_one_attempt() {
    let mut stages = Stages::start(snapshot());
    for _ in 0..2 {
        stages.gateway.envoy.take_calls();
        let answer = Upstream::answer(200, &JSON, completion("Hi"));
        stages.call(&chat("chain"), vec![answer]);
    }
    let mut expected = passed();
    // The provider stage names the model.
    expected.retain(|(name, _)| *name != "replace_request_body");
    assert_eq!(stages.gateway.envoy.take_calls(), expected);
}
