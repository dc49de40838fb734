//! Aliases whose model the control plane chooses.

use std::time::Duration;

use opentracy_proto::v1::{self, Strategy};
use serde_json::json;

use crate::fake_envoy::{Exchange, Vm};
use crate::tests::world::{
    CHAT, JSON, alias, chat, chat_with, completion, error, key, plan, snapshot,
};

const DEADLINE: Duration = Duration::from_millis(100);
/// A status of gRPC.
const UNAVAILABLE: u32 = 14;

/// Starts a gateway with two aliases of the same candidates: `auto` goes on without a decision, and
/// `strict` does not.
fn gateway() -> Vm {
    let mut snapshot = snapshot();
    let auto = |name: &str, fail_without_router| v1::Alias {
        strategy: Strategy::Auto.into(),
        fail_without_router,
        ..alias(name, &["openai/small", "second/large"])
    };
    snapshot
        .aliases
        .extend([auto("auto", false), auto("strict", true)]);
    Vm::gateway_with(snapshot)
}

/// Sends a request that waits for a decision.
fn wait(vm: &mut Vm, model: &str) -> Exchange {
    let mut exchange = vm.post(CHAT, &chat(model));
    assert!(exchange.upstream().headers.is_empty() && exchange.client().headers.is_empty());
    exchange
}

/// Lets the deadline of a decision pass.
fn time_out(vm: &mut Vm, exchange: &mut Exchange) {
    vm.tick(DEADLINE);
    vm.fail_for(exchange, "Route", UNAVAILABLE);
}

fn decision(candidates: &[&str]) -> v1::RouteResponse {
    v1::RouteResponse {
        candidates: candidates.iter().map(|&id| id.to_owned()).collect(),
        cluster_id: Some(7),
        expected_error: Some(0.25),
        decision: Some(v1::Decision {
            outcome: "decided".to_owned(),
            pack: "pack-1".to_owned(),
            reason: "the cheapest that is good enough".to_owned(),
            ..v1::Decision::default()
        }),
    }
}

#[test]
fn the_control_plane_learns_the_prompt_and_its_needs() {
    let mut vm = gateway();
    let mut body = chat("auto");
    body["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
    let headers = [("x-opentracy-cost-weight", "0.5")];
    chat_with(&mut vm, &headers, &body);
    let asked: v1::RouteRequest = vm.asked("Route");
    assert_eq!(
        (asked.alias.as_str(), asked.prompt.as_str()),
        ("auto", "Hello")
    );
    assert_eq!(asked.cost_weight, Some(0.5));
    assert_eq!(asked.candidates, ["openai/small", "second/large"]);
    let needs = asked.needs.unwrap();
    assert!(needs.tools && !needs.images);
    assert_eq!(needs.conversation_bytes, body.to_string().len() as u64);
}

#[test]
fn a_decision_orders_the_candidates_and_is_recorded() {
    let mut vm = gateway();
    let mut exchange = wait(&mut vm, "auto");
    vm.tick(Duration::from_millis(40));
    vm.answer_for(
        &mut exchange,
        "Route",
        &decision(&["second/large", "openai/small"]),
    );
    assert_eq!(plan(exchange.upstream()), ["second/large", "openai/small"]);
    let log = json!([{"number": 1, "summary": {
        "provider": "second", "model": "large", "status": 200, "error": null, "latency_ms": 5,
    }}]);
    let log = log.to_string();
    let headers = [JSON[0], ("x-opentracy-attempt-log", log.as_str())];
    exchange.respond(200, &headers, &completion("Hi"));
    let got = exchange.client().clone();
    assert_eq!(got.header("x-opentracy-routing"), "decided");
    assert_eq!(got.header("x-opentracy-cluster-id"), "7");
    assert_eq!(got.header("x-opentracy-expected-error"), "0.25");
    assert_eq!(got.header("x-opentracy-routing-ms"), "40");
    let routing = &got.json()["_routing"];
    assert_eq!(routing["decision"]["outcome"], "decided");
    assert_eq!(routing["routing_ms"], 40.0);
    exchange.end();
    let trace = vm.records().traces.remove(0);
    assert_eq!(
        (trace.cluster_id, trace.expected_error),
        (Some(7), Some(0.25))
    );
    assert_eq!(trace.decision.unwrap().pack, "pack-1");
    assert_eq!(trace.routing_micros, 40_000);
}

#[test]
fn a_decision_names_only_candidates_and_loses_none() {
    let mut vm = gateway();
    let mut exchange = wait(&mut vm, "auto");
    vm.answer_for(
        &mut exchange,
        "Route",
        &decision(&["anthropic/other", "second/large"]),
    );
    assert_eq!(plan(exchange.upstream()), ["second/large", "openai/small"]);
}

#[test]
fn a_key_narrows_the_choice() {
    let mut snapshot = snapshot();
    snapshot.aliases.push(v1::Alias {
        strategy: Strategy::Auto.into(),
        ..alias("auto", &["openai/small", "second/large", "second/small"])
    });
    snapshot.keys = vec![v1::ClientKey {
        models: vec!["second/*".to_owned()],
        ..key("narrow")
    }];
    let mut vm = Vm::gateway_with(snapshot);
    let headers = [("authorization", "Bearer sk-narrow")];
    chat_with(&mut vm, &headers, &chat("auto"));
    let asked: v1::RouteRequest = vm.asked("Route");
    assert_eq!(asked.candidates, ["second/large", "second/small"]);
}

#[test]
fn a_late_decision_leaves_the_candidates_in_their_order() {
    let mut vm = gateway();
    let mut exchange = wait(&mut vm, "auto");
    time_out(&mut vm, &mut exchange);
    assert_eq!(plan(exchange.upstream()), ["openai/small", "second/large"]);
    exchange.fail(503, "no_healthy_upstream", &[]);
    assert_eq!(exchange.client().header("x-opentracy-routing"), "deadline");
    exchange.end();
    assert_eq!(
        vm.records().traces[0].decision.as_ref().unwrap().outcome,
        "deadline"
    );
}

#[test]
fn a_failed_decision_is_recorded_as_one() {
    let mut vm = gateway();
    let mut exchange = wait(&mut vm, "auto");
    vm.tick(DEADLINE / 2);
    vm.fail_for(&mut exchange, "Route", UNAVAILABLE);
    assert_eq!(plan(exchange.upstream()).len(), 2);
    exchange.end();
    let records = vm.records();
    let decision = records.traces[0].decision.as_ref().unwrap();
    assert_eq!(decision.outcome, "control_plane_down");
}

#[test]
fn an_alias_that_requires_a_decision_fails_without_one() {
    let mut vm = gateway();
    let mut exchange = wait(&mut vm, "strict");
    time_out(&mut vm, &mut exchange);
    assert!(exchange.upstream().headers.is_empty());
    let got = exchange.client().clone();
    assert_eq!(error(&got), (503, "router_unavailable".to_owned()));
    assert_eq!(got.header("retry-after"), "1");
    exchange.end();
    let trace = vm.records().traces.remove(0);
    assert_eq!(
        (trace.status, trace.decision.unwrap().outcome.as_str()),
        (503, "deadline")
    );
}

#[test]
fn a_call_that_envoy_refuses_at_once_holds_no_request() {
    let mut vm = gateway();
    vm.envoy.refuse_calls(true);
    let mut exchange = vm.post(CHAT, &chat("auto"));
    assert_eq!(plan(exchange.upstream()).len(), 2);
    let mut exchange = vm.post(CHAT, &chat("strict"));
    assert_eq!(
        error(exchange.client()),
        (503, "router_unavailable".to_owned())
    );
}

#[test]
fn a_hanging_control_plane_holds_two_requests_and_then_one_a_second() {
    let mut vm = gateway();
    for _ in 0..2 {
        let mut exchange = wait(&mut vm, "auto");
        time_out(&mut vm, &mut exchange);
    }
    for _ in 0..5 {
        let mut exchange = vm.post(CHAT, &chat("auto"));
        assert_eq!(plan(exchange.upstream()).len(), 2, "it does not wait");
    }
    vm.tick(Duration::from_secs(1));
    let mut probe = wait(&mut vm, "auto");
    let mut other = vm.post(CHAT, &chat("auto"));
    assert!(other.upstream().is_complete, "one at a time");
    time_out(&mut vm, &mut probe);
    vm.tick(Duration::from_millis(900));
    assert!(vm.post(CHAT, &chat("auto")).upstream().is_complete);
    vm.tick(Duration::from_millis(100));
    let mut probe = wait(&mut vm, "auto");
    vm.answer_for(&mut probe, "Route", &decision(&["second/large"]));
    for _ in 0..3 {
        wait(&mut vm, "auto");
    }
}

#[test]
fn one_failure_may_be_chance() {
    let mut vm = gateway();
    let mut exchange = wait(&mut vm, "auto");
    vm.fail_for(&mut exchange, "Route", UNAVAILABLE);
    let mut exchange = wait(&mut vm, "auto");
    vm.answer_for(&mut exchange, "Route", &decision(&["second/large"]));
    let mut exchange = wait(&mut vm, "auto");
    vm.fail_for(&mut exchange, "Route", UNAVAILABLE);
    wait(&mut vm, "auto");
}

#[test]
fn a_cost_weight_is_a_number_of_at_least_zero() {
    let mut vm = gateway();
    for weight in ["-1", "much", "NaN", "inf", ""] {
        let headers = [("x-opentracy-cost-weight", weight)];
        let mut exchange = chat_with(&mut vm, &headers, &chat("auto"));
        assert_eq!(
            error(exchange.client()),
            (400, "invalid_header".to_owned()),
            "{weight}"
        );
    }
    assert!(vm.pending("Route").is_empty());
}

#[test]
fn a_client_that_leaves_during_the_wait_leaves_a_trace() {
    let mut vm = gateway();
    let mut exchange = wait(&mut vm, "auto");
    exchange.cut("downstream_remote_disconnect");
    exchange.end();
    let trace = vm.records().traces.remove(0);
    assert_eq!(trace.outcome(), v1::Outcome::ClientDisconnected);
    assert_eq!(
        (trace.alias.as_str(), trace.provider.as_str()),
        ("auto", "")
    );
}

#[test]
fn an_empty_answer_of_the_control_plane_is_an_answer() {
    let mut vm = gateway();
    let mut exchange = wait(&mut vm, "strict");
    vm.answer_for(&mut exchange, "Route", &v1::RouteResponse::default());
    assert_eq!(plan(exchange.upstream()), ["openai/small", "second/large"]);
}

#[test]
fn a_decision_is_explained_without_a_call() {
    let mut vm = gateway();
    let body = json!({"alias": "auto", "prompt": "Hello"});
    let mut exchange = vm.post("/v1/route", &body);
    let asked: v1::ExplainRequest = vm.asked("Explain");
    assert_eq!(asked.body, body.to_string().into_bytes());
    let answer = v1::ExplainResponse {
        status: 422,
        body: br#"{"why":"so"}"#.to_vec(),
    };
    vm.answer_for(&mut exchange, "Explain", &answer);
    let got = exchange.client();
    assert_eq!(
        (got.status(), got.json()["why"].clone()),
        (422, json!("so"))
    );
    assert!(exchange.upstream().headers.is_empty());
    exchange.end();
    assert!(vm.records().traces.is_empty());
}

#[test]
fn an_explanation_needs_the_control_plane() {
    let mut vm = gateway();
    let mut exchange = vm.post("/v1/route", &json!({}));
    vm.fail_for(&mut exchange, "Explain", UNAVAILABLE);
    assert_eq!(
        error(exchange.client()),
        (503, "router_unavailable".to_owned())
    );
    vm.envoy.refuse_calls(true);
    let mut exchange = vm.post("/v1/route", &json!({}));
    assert_eq!(
        error(exchange.client()),
        (503, "router_unavailable".to_owned())
    );
}
