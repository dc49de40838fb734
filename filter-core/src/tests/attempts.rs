//! Several attempts at one request, through both stages.

use opentracy_proto::v1;
use serde_json::json;

use crate::fake_envoy::{Exchange, Vm};
use crate::tests::world::{
    self, CHAT, alias, chat, completion, error, failure, provider, relay, snapshot,
};

/// Ends an exchange and returns its trace.
fn trace(vm: &mut Vm, exchange: Exchange) -> v1::Trace {
    exchange.end();
    vm.records().traces.remove(0)
}

#[test]
fn a_failed_candidate_gives_way_to_the_next() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = vm.post(CHAT, &chat("chain"));
    let answers = [(503, failure("overloaded")), (200, completion("Hi"))];
    let (sent, answer) = world::attempts(snapshot(), exchange.upstream(), &answers);
    let cluster = |index: usize| sent[index].header("x-opentracy-cluster");
    assert_eq!(
        [cluster(0), cluster(1)],
        ["provider_openai", "provider_second"]
    );
    assert_eq!(sent[1].json()["model"], "large");
    assert_eq!(sent[1].header("authorization"), "Bearer key-of-second");
    relay(&mut exchange, &answer);
    let got = exchange.client().clone();
    assert_eq!(got.status(), 200);
    assert_eq!(got.header("x-opentracy-attempts"), "2");
    assert_eq!(got.header("x-opentracy-selected-model"), "second/large");
    assert_eq!(got.header("x-opentracy-attempt-log"), "", "not for clients");
    assert_eq!(got.json()["_routing"]["attempts"], 2);
    let trace = trace(&mut vm, exchange);
    assert_eq!((trace.provider.as_str(), trace.status), ("second", 200));
    assert!(trace.error.is_none());
}

#[test]
fn only_the_last_attempt_may_be_repeated_on_a_new_connection() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = vm.post(CHAT, &chat("chain"));
    let answers = [(500, failure("x")), (500, failure("y"))];
    let (sent, _) = world::attempts(snapshot(), exchange.upstream(), &answers);
    // A reset at the first candidate is a reason to try the next one.
    assert_eq!(sent[0].header("x-envoy-retry-on"), "");
    assert_eq!(sent[1].header("x-envoy-retry-on"), "reset");
}

#[test]
fn all_failures_are_listed_in_the_error() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = vm.post(CHAT, &chat("chain"));
    let answers = [(500, failure("first")), (429, failure("second"))];
    let (sent, answer) = world::attempts(snapshot(), exchange.upstream(), &answers);
    assert_eq!(sent.len(), 2);
    relay(&mut exchange, &answer);
    let got = exchange.client().json();
    assert_eq!(exchange.client().status(), 429);
    let attempts = got["error"]["attempts"].as_array().unwrap();
    let facts = |index: usize| {
        let attempt = &attempts[index];
        (
            attempt["provider"].clone(),
            attempt["status"].clone(),
            attempt["error"].clone(),
        )
    };
    assert_eq!(
        facts(0),
        (json!("openai"), json!(500), json!("server_error"))
    );
    assert_eq!(facts(1), (json!("second"), json!(429), json!("rate_limit")));
    let trace = trace(&mut vm, exchange);
    assert_eq!((trace.provider.as_str(), trace.status), ("second", 429));
    assert_eq!(trace.outcome(), v1::Outcome::Completed);
}

#[test]
fn a_request_at_fault_itself_is_not_tried_elsewhere() {
    let mut vm = Vm::gateway_with(snapshot());
    for status in [400, 401, 404, 413, 422] {
        let mut exchange = vm.post(CHAT, &chat("chain"));
        let answers = [(status, failure("no")), (200, completion("Hi"))];
        let (sent, answer) = world::attempts(snapshot(), exchange.upstream(), &answers);
        assert_eq!(sent.len(), 1, "{status}");
        relay(&mut exchange, &answer);
        assert_eq!(exchange.client().status(), status);
        assert_eq!(exchange.client().header("x-opentracy-attempts"), "1");
    }
}

#[test]
fn an_error_in_a_successful_answer_counts_as_a_failure() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = vm.post(CHAT, &chat("chain"));
    let answers = [(200, failure("it broke")), (200, completion("Hi"))];
    let (sent, answer) = world::attempts(snapshot(), exchange.upstream(), &answers);
    assert_eq!(sent.len(), 2);
    relay(&mut exchange, &answer);
    assert_eq!(exchange.client().status(), 200);
}

#[test]
fn each_candidate_gets_the_request_in_its_own_format() {
    let mut mixed = snapshot();
    let candidates = ["openai/small", "anthropic/claude"];
    mixed.aliases.push(alias("mixed", &candidates));
    let mut vm = Vm::gateway_with(mixed.clone());
    let mut exchange = vm.post(CHAT, &chat("mixed"));
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
        "content": [{"type": "text", "text": "Bonjour"}],
        "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 7, "output_tokens": 3},
    });
    let answers = [(500, failure("x")), (200, message.to_string().into_bytes())];
    let (sent, answer) = world::attempts(mixed, exchange.upstream(), &answers);
    assert_eq!(sent[0].header(":path"), CHAT);
    assert_eq!(sent[1].header(":path"), "/v1/messages");
    assert!(
        sent[1].json()["max_tokens"].is_u64(),
        "Anthropic requires it"
    );
    relay(&mut exchange, &answer);
    let got = exchange.client().json();
    assert_eq!(got["choices"][0]["message"]["content"], "Bonjour");
    assert_eq!(got["usage"]["total_tokens"], 10);
    assert_eq!(trace(&mut vm, exchange).usage.unwrap().input, 7);
}

#[test]
fn a_refused_key_gives_way_to_the_providers_next_one() {
    let mut snapshot = snapshot();
    let mut keys = provider("keys", v1::Format::Openai);
    keys.keys = vec![v1::Header {
        name: "authorization".to_owned(),
        value: "Bearer another-key".to_owned(),
    }];
    snapshot.providers.push(keys);
    let mut vm = Vm::gateway_with(snapshot.clone());
    let mut exchange = vm.post(CHAT, &chat("keys/m"));
    let answers = [(401, failure("bad key")), (200, completion("Hi"))];
    let (sent, answer) = world::attempts(snapshot, exchange.upstream(), &answers);
    let key = |index: usize| sent[index].header("authorization");
    assert_eq!(
        [key(0), key(1)],
        ["Bearer key-of-keys", "Bearer another-key"]
    );
    relay(&mut exchange, &answer);
    assert_eq!(exchange.client().status(), 200);
}

#[test]
fn an_attempt_that_left_no_log_went_down_with_its_vm() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = vm.post(CHAT, &chat("chain"));
    // The first attempt's VM trapped, so that only the second one is in the log.
    let log = json!([{"number": 2, "summary": {
        "provider": "second", "model": "large", "status": 200, "error": null, "latency_ms": 5,
    }}]);
    let log = log.to_string();
    let headers = [
        ("content-type", "application/json"),
        ("x-opentracy-attempt-log", log.as_str()),
    ];
    exchange.respond(200, &headers, &completion("Hi"));
    assert_eq!(exchange.client().header("x-opentracy-attempts"), "2");
    exchange.end();
    let records = vm.records();
    let attempt = &records.attempts[0];
    assert_eq!((attempt.number, attempt.provider.as_str()), (1, "openai"));
    assert_eq!(attempt.error, "translator_failed");
    assert_eq!(records.traces[0].provider, "second");
}

#[test]
fn a_plan_that_envoy_gave_up_on_blames_its_last_candidate() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = vm.post(CHAT, &chat("chain"));
    exchange.fail(503, "no_healthy_upstream", &[]);
    let got = exchange.client().clone();
    assert_eq!(error(&got), (502, "upstream_unavailable".to_owned()));
    let attempts = got.json()["error"]["attempts"].clone();
    assert_eq!(attempts[0]["error"], "failed");
    assert_eq!(attempts[1]["error"], "no_healthy_host");
    assert_eq!(trace(&mut vm, exchange).provider, "second");
}

#[test]
fn a_provider_that_only_the_gateway_stage_knows_is_asked_for_first() {
    let mut newer = snapshot();
    newer.providers.push(provider("new", v1::Format::Openai));
    let mut vm = Vm::provider_with(snapshot());
    let plan = r#"{"trace_id":"t","attempts":["new/m","openai/small"]}"#;
    let headers = [
        (":method", "POST"),
        (":authority", "opentracy-internal"),
        (":path", CHAT),
        ("x-opentracy-plan", plan),
    ];
    let body = chat("x").to_string();
    let mut exchange = vm.request(&headers, body.as_bytes());
    assert!(exchange.upstream().headers.is_empty(), "it waits");
    let response = v1::GetSnapshotResponse {
        version: "2".to_owned(),
        snapshot: Some(newer),
        ..v1::GetSnapshotResponse::default()
    };
    vm.answer_for(&mut exchange, "GetSnapshot", &response);
    let sent = exchange.upstream();
    assert_eq!(sent.header("x-opentracy-cluster"), "provider_new");
    // A provider that no configuration has makes room for the next candidate.
    let gone = plan.replace("new", "gone");
    let headers = headers.map(|(name, value)| match name {
        "x-opentracy-plan" => (name, gone.as_str()),
        _ => (name, value),
    });
    let mut exchange = vm.request(&headers, body.as_bytes());
    vm.fail_for(&mut exchange, "GetSnapshot", 14);
    let got = exchange.client();
    assert_eq!(got.header("x-opentracy-retry"), "1");
    assert_eq!(error(got), (503, "gateway_starting".to_owned()));
}

#[test]
fn an_attempt_that_does_not_fit_in_memory_gives_way_and_is_recorded() {
    let mut vm = Vm::provider_with(snapshot());
    vm.envoy.set_memory(640 << 20);
    let plan = r#"{"trace_id":"t","attempts":["openai/small","second/large"]}"#;
    let headers = [
        (":method", "POST"),
        (":path", CHAT),
        ("x-opentracy-plan", plan),
    ];
    let mut exchange = vm.request(&headers, chat("x").to_string().as_bytes());
    assert!(exchange.upstream().headers.is_empty());
    let got = exchange.client();
    assert_eq!(error(got), (503, "gateway_overloaded".to_owned()));
    assert_eq!(got.header("x-opentracy-retry"), "1");
    exchange.end();
    let attempt = vm.records().attempts.remove(0);
    assert_eq!(attempt.error, "refused_by_gateway");
    assert_eq!((attempt.number, attempt.status), (1, 0));
}

#[test]
fn a_silent_provider_is_given_up_on_so_that_the_next_can_answer() {
    let mut vm = Vm::provider_with(snapshot());
    let plan = r#"{"trace_id":"t","attempts":["openai/small","second/large"],
        "per_try_timeout_ms":300}"#;
    let headers = [
        (":method", "POST"),
        (":path", CHAT),
        ("x-opentracy-plan", plan),
        ("x-envoy-attempt-count", "1"),
    ];
    let body = chat("x").to_string();
    let mut exchange = vm.request(&headers, body.as_bytes());
    exchange.begin_response(200, &world::JSON, false);
    vm.tick(std::time::Duration::from_millis(200));
    assert!(exchange.client().headers.is_empty());
    vm.tick(std::time::Duration::from_millis(100));
    let got = exchange.client();
    assert_eq!(got.header("x-opentracy-retry"), "1");
    assert_eq!(error(got), (504, "upstream_timeout".to_owned()));
    exchange.end();
    let records = vm.records();
    assert_eq!(records.attempts[0].error, "timeout");
    assert_eq!(records.attempts[0].status, 0);
}
