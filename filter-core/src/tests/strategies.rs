//! The order in which the candidates of an alias are tried.

use std::collections::BTreeSet;
use std::time::Duration;

use opentracy_proto::v1::{self, Strategy};
use serde_json::{Value, json};

use crate::fake_envoy::Vm;
use crate::tests::world::{
    CHAT, JSON, SSE, alias, call, chat, chat_with, completion, error, failure, model, part, plan,
    snapshot,
};

/// Starts a gateway whose alias `smart` has two candidates and this strategy.
fn gateway(strategy: Strategy, change: impl FnOnce(&mut v1::Snapshot)) -> Vm {
    let mut snapshot = snapshot();
    snapshot.aliases.push(v1::Alias {
        strategy: strategy.into(),
        ..alias("smart", &["openai/small", "second/large"])
    });
    change(&mut snapshot);
    Vm::gateway_with(snapshot)
}

/// Returns the candidate that a request for `smart` tries first.
fn first(vm: &mut Vm, body: &Value) -> String {
    let mut exchange = vm.post(CHAT, body);
    plan(exchange.upstream()).swap_remove(0)
}

fn of_user(user: &str) -> Value {
    let mut body = chat("smart");
    body["user"] = json!(user);
    body
}

#[test]
fn round_robin_gives_each_candidate_its_turn() {
    let mut vm = gateway(Strategy::RoundRobin, |_| {});
    let turns: Vec<String> = (0..4).map(|_| first(&mut vm, &chat("smart"))).collect();
    let (small, large) = ("openai/small", "second/large");
    assert_eq!(turns, [small, large, small, large]);
}

#[test]
fn weights_are_shares_of_the_requests() {
    let mut vm = gateway(Strategy::Weighted, |snapshot| {
        snapshot.aliases[2].weights = vec![1, 3];
    });
    let firsts = (0..400).map(|_| first(&mut vm, &chat("smart")));
    let large = firsts.filter(|model| model == "second/large").count();
    // 300 are expected; the standard deviation is 9.
    assert!((240..360).contains(&large), "{large}");
}

#[test]
fn a_candidate_without_weight_is_only_a_fallback() {
    let mut vm = gateway(Strategy::Weighted, |snapshot| {
        snapshot.aliases[2].weights = vec![0, 1];
    });
    let mut exchange = vm.post(CHAT, &chat("smart"));
    let order = plan(exchange.upstream());
    assert_eq!(order, ["second/large", "openai/small"]);
}

#[test]
fn a_sticky_user_stays_on_one_candidate_and_users_are_spread() {
    let mut vm = gateway(Strategy::Sticky, |_| {});
    let mut seen = BTreeSet::new();
    for number in 0..20 {
        let body = of_user(&format!("user {number}"));
        let own = first(&mut vm, &body);
        assert_eq!(first(&mut vm, &body), own);
        seen.insert(own);
    }
    assert_eq!(seen.len(), 2);
}

#[test]
fn a_sticky_conversation_stays_on_one_candidate_as_it_grows() {
    let mut vm = gateway(Strategy::Sticky, |_| {});
    for number in 0..10 {
        let text = format!("{number} {}", "and so on ".repeat(200));
        let opening = json!({"role": "user", "content": text});
        let mut body = json!({"model": "smart", "messages": [opening]});
        let own = first(&mut vm, &body);
        let messages = body["messages"].as_array_mut().unwrap();
        messages.push(json!({"role": "assistant", "content": "Hi"}));
        messages.push(json!({"role": "user", "content": "Go on"}));
        assert_eq!(first(&mut vm, &body), own);
    }
}

#[test]
fn the_quickest_candidate_is_first_and_one_without_a_measurement_before_it() {
    let mut vm = gateway(Strategy::LowestLatency, |_| {});
    let mut measure = |model: &str, milliseconds| {
        let mut exchange = vm.post(CHAT, &chat(model));
        vm.tick(Duration::from_millis(milliseconds));
        exchange.respond(200, &JSON, &completion("Hi"));
        exchange.end();
        first(&mut vm, &chat("smart"))
    };
    assert_eq!(measure("openai/small", 300), "second/large");
    assert_eq!(measure("second/large", 800), "openai/small");
    // The average follows.
    for _ in 0..20 {
        measure("openai/small", 2000);
    }
    assert_eq!(measure("second/large", 100), "second/large");
}

#[test]
fn the_cheapest_candidate_for_this_request_is_first() {
    let mut vm = gateway(Strategy::LowestCost, |snapshot| {
        snapshot.models[1].pricing = Some(v1::Pricing {
            input: Some(1e-7),
            output: Some(5e-6),
            ..v1::Pricing::default()
        });
    });
    let mut body = chat("smart");
    body["max_tokens"] = json!(1);
    let short = first(&mut vm, &body);
    body["max_tokens"] = json!(10_000);
    let long = first(&mut vm, &body);
    assert_eq!(
        (short.as_str(), long.as_str()),
        ("second/large", "openai/small")
    );
}

#[test]
fn a_candidate_without_a_price_counts_as_the_most_expensive() {
    let mut vm = gateway(Strategy::LowestCost, |snapshot| {
        snapshot.models[0].pricing = None;
    });
    assert_eq!(first(&mut vm, &chat("smart")), "second/large");
}

#[test]
fn a_conversation_goes_where_it_fits_or_nowhere() {
    let mut vm = gateway(Strategy::InOrder, |snapshot| {
        snapshot.models[0].context_tokens = Some(100);
        snapshot.models[1].context_tokens = Some(1000);
    });
    let long = |words: usize| {
        let message = json!({"role": "user", "content": "word ".repeat(words)});
        json!({"model": "smart", "messages": [message]})
    };
    let mut exchange = vm.post(CHAT, &long(10));
    assert_eq!(plan(exchange.upstream()).len(), 2);
    let got = call(&mut vm, &[], &long(500));
    assert_eq!(got.header("x-opentracy-selected-model"), "second/large");
    let got = call(&mut vm, &[], &long(5000));
    assert_eq!(error(&got), (400, "context_length_exceeded".to_owned()));
    assert_eq!(got.json()["error"]["param"], "messages");
}

#[test]
fn a_conversation_with_tools_keeps_its_model_by_its_session() {
    let mut vm = gateway(Strategy::RoundRobin, |_| {});
    let answer = json!({
        "id": "1", "object": "chat.completion", "created": 1, "model": "large",
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": null, "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        }}],
    });
    let mut exchange = vm.post(CHAT, &chat("second/large"));
    exchange.respond(200, &JSON, answer.to_string().as_bytes());
    let session = exchange
        .client()
        .header("x-opentracy-session-id")
        .to_owned();
    assert!(session.starts_with("ses_"), "{session}");
    exchange.end();
    assert_eq!(vm.records().traces[0].session_id, session);
    for _ in 0..3 {
        let headers = [("x-opentracy-session-id", session.as_str())];
        let mut exchange = chat_with(&mut vm, &headers, &chat("smart"));
        assert_eq!(plan(exchange.upstream())[0], "second/large");
    }
    let headers = [("x-opentracy-session-id", "ses_forged")];
    let mut exchange = chat_with(&mut vm, &headers, &chat("smart"));
    assert_eq!(
        plan(exchange.upstream())[0],
        "openai/small",
        "the next turn"
    );
}

#[test]
fn a_session_on_a_model_that_an_alias_does_not_have_decides_nothing() {
    let mut vm = gateway(Strategy::RoundRobin, |_| {});
    let mut body = chat("openai/other");
    body["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
    body["stream"] = json!(true);
    let mut exchange = vm.post(CHAT, &body);
    exchange.begin_response(200, &SSE, false);
    exchange.respond_more(&part("Hi"), false);
    let session = exchange
        .client()
        .header("x-opentracy-session-id")
        .to_owned();
    let headers = [("x-opentracy-session-id", session.as_str())];
    let mut turn = || {
        let mut exchange = chat_with(&mut vm, &headers, &chat("smart"));
        plan(exchange.upstream()).swap_remove(0)
    };
    assert_eq!([turn(), turn()], ["openai/small", "second/large"]);
}

#[test]
fn an_answer_without_tools_begins_no_session() {
    let mut vm = Vm::gateway_with(snapshot());
    let got = call(&mut vm, &[], &chat("small"));
    assert_eq!(got.header("x-opentracy-session-id"), "");
}

/// Makes a call that fails.
fn fail(vm: &mut Vm, model: &str) {
    let mut exchange = vm.post(CHAT, &chat(model));
    exchange.respond(500, &JSON, &failure("broken"));
    exchange.end();
}

#[test]
fn a_model_that_keeps_failing_is_left_alone_and_then_tried_by_one_call() {
    let mut vm = Vm::gateway_with(snapshot());
    for _ in 0..5 {
        fail(&mut vm, "openai/small");
    }
    let got = call(&mut vm, &[], &chat("openai/small"));
    assert_eq!(error(&got), (503, "circuit_open".to_owned()));
    assert_eq!(got.header("retry-after"), "10");
    let mut exchange = vm.post(CHAT, &chat("chain"));
    assert_eq!(plan(exchange.upstream()), ["second/large", "openai/small"]);
    vm.tick(Duration::from_secs(10));
    let mut probe = vm.post(CHAT, &chat("openai/small"));
    assert!(probe.upstream().is_complete);
    assert_eq!(call(&mut vm, &[], &chat("openai/small")).status(), 503);
    probe.respond(200, &JSON, &completion("Hi"));
    probe.end();
    assert_eq!(call(&mut vm, &[], &chat("openai/small")).status(), 200);
}

#[test]
fn a_failed_probe_doubles_the_pause() {
    let mut vm = Vm::gateway_with(snapshot());
    for _ in 0..5 {
        fail(&mut vm, "openai/small");
    }
    vm.tick(Duration::from_secs(10));
    fail(&mut vm, "openai/small");
    vm.tick(Duration::from_secs(19));
    assert_eq!(call(&mut vm, &[], &chat("openai/small")).status(), 503);
    vm.tick(Duration::from_secs(1));
    assert_eq!(call(&mut vm, &[], &chat("openai/small")).status(), 200);
}

#[test]
fn a_request_at_fault_itself_opens_no_circuit() {
    let mut vm = Vm::gateway_with(snapshot());
    for _ in 0..30 {
        let mut exchange = vm.post(CHAT, &chat("openai/small"));
        exchange.respond(400, &JSON, &failure("too many stop sequences"));
        exchange.end();
    }
    assert_eq!(call(&mut vm, &[], &chat("openai/small")).status(), 200);
}

#[test]
fn a_provider_that_asks_for_a_pause_goes_last_until_it_is_over() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = vm.post(CHAT, &chat("openai/small"));
    let headers = [("content-type", "application/json"), ("retry-after", "3")];
    exchange.respond(429, &headers, &failure("slow down"));
    assert_eq!(exchange.client().header("retry-after"), "3");
    exchange.end();
    assert_eq!(first(&mut vm, &chat("chain")), "second/large");
    vm.tick(Duration::from_secs(3));
    assert_eq!(first(&mut vm, &chat("chain")), "openai/small");
}

#[test]
fn a_model_of_another_provider_has_its_own_circuit() {
    let mut vm = gateway(Strategy::InOrder, |snapshot| {
        snapshot.models.push(model("second", "small"));
    });
    for _ in 0..5 {
        fail(&mut vm, "openai/small");
    }
    assert_eq!(call(&mut vm, &[], &chat("second/small")).status(), 200);
}
