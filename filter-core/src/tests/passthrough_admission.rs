//! Limits, budgets, rights and the trace policy of passthrough calls.

use opentracy_proto::v1;
use serde_json::json;

use crate::fake_envoy::{Exchange, Vm};
use crate::root::TICK;
use crate::tests::stages::{client_key, error, records_of, send};
use crate::tests::world::{JSON, alias, snapshot};

/// Returns a configuration with a key "team".
fn config(key: v1::ClientKey) -> v1::Snapshot {
    let mut wire = snapshot();
    wire.keys.push(key);
    wire
}

fn limited(requests: u64) -> v1::ClientKey {
    v1::ClientKey {
        limits: Some(v1::Limits {
            requests_per_minute: Some(requests),
            ..v1::Limits::default()
        }),
        ..client_key("team")
    }
}

/// Sends a completion of a prompt with the key.
fn complete(vm: &mut Vm, model: &str, headers: &[(&str, &str)]) -> Exchange {
    let mut all = vec![
        ("content-type", "application/json"),
        ("authorization", "Bearer team"),
    ];
    all.extend(headers);
    let body = json!({"model": model, "prompt": "Hi"}).to_string();
    send(vm, "POST", "/v1/completions", &all, body.as_bytes())
}

fn grant(units: u64) -> v1::AcquireResponse {
    v1::AcquireResponse {
        grants: vec![v1::Grant {
            units,
            limit: 10,
            remaining: 0,
            reset_ms: 30_000,
        }],
        ..v1::AcquireResponse::default()
    }
}

fn code(exchange: &mut Exchange) -> (u16, String) {
    let got = exchange.client();
    let code = got.json()["error"]["code"].as_str().map(str::to_owned);
    (got.status(), code.unwrap_or_default())
}

#[test]
fn a_call_waits_for_its_limit_and_then_goes_out() {
    let mut vm = Vm::gateway_with(config(limited(10)));
    let mut exchange = complete(&mut vm, "small", &[]);
    assert!(exchange.upstream().headers.is_empty());
    let asked: v1::AcquireRequest = vm.asked("Acquire");
    let bucket = asked.wants[0].bucket.clone().unwrap();
    assert_eq!(
        (bucket.owner(), bucket.name.as_str()),
        (v1::Owner::Key, "team")
    );
    assert_eq!(bucket.unit(), v1::Unit::Requests);
    vm.answer_for(&mut exchange, "Acquire", &grant(2));
    assert_eq!(exchange.upstream().json()["prompt"], "Hi");
    exchange.respond(200, &JSON, b"{}");
    let got = exchange.client();
    assert_eq!(got.header("x-ratelimit-limit-requests"), "10");
    assert_eq!(got.header("x-ratelimit-remaining-requests"), "1");
    let mut next = complete(&mut vm, "small", &[]);
    assert!(next.upstream().is_complete, "the rest of the lease");
    let (trace, _) = records_of(&mut vm, next);
    assert_eq!(trace.key, "team");
}

#[test]
fn a_call_over_its_limit_is_refused() {
    let mut vm = Vm::gateway_with(config(limited(10)));
    let mut exchange = complete(&mut vm, "small", &[]);
    vm.answer_for(&mut exchange, "Acquire", &grant(0));
    assert_eq!(code(&mut exchange), (429, "rate_limit_exceeded".to_owned()));
    let got = exchange.client();
    assert_eq!(got.header("retry-after"), "31");
    assert_eq!(got.header("x-ratelimit-remaining-requests"), "0");
    assert!(exchange.upstream().headers.is_empty());
    let (trace, attempts) = records_of(&mut vm, exchange);
    assert_eq!((trace.status, attempts.len()), (429, 0));
}

#[test]
fn a_client_that_leaves_before_the_grant_returns_no_units() {
    let limits = v1::Limits {
        concurrent_requests: Some(2),
        ..v1::Limits::default()
    };
    let mut key = limited(10);
    key.limits = Some(limits);
    let mut vm = Vm::gateway_with(config(key));
    let mut exchange = complete(&mut vm, "small", &[]);
    let number = vm.asked::<v1::AcquireRequest>("Acquire").number;
    exchange.cut("downstream_remote_disconnect");
    exchange.end();
    vm.tick(TICK);
    let report: v1::AcquireRequest = vm.asked("Acquire");
    assert_eq!(
        (report.released.len(), report.unanswered),
        (0, vec![number])
    );
}

#[test]
fn an_unanswered_question_leaves_this_vm_its_share() {
    let mut vm = Vm::gateway_with(config(limited(2)));
    let mut first = complete(&mut vm, "small", &[]);
    vm.fail_for(&mut first, "Acquire", 14);
    assert!(first.upstream().is_complete);
    let mut second = complete(&mut vm, "small", &[]);
    assert!(second.upstream().is_complete);
    let mut third = complete(&mut vm, "small", &[]);
    vm.fail_for(&mut third, "Acquire", 14);
    assert_eq!(third.client().status(), 429);
}

#[test]
fn limits_that_can_not_be_checked_refuse_if_the_configuration_says_so() {
    let mut wire = config(limited(2));
    wire.refuse_without_limits = true;
    let mut vm = Vm::gateway_with(wire);
    vm.envoy.refuse_calls(true);
    let mut exchange = complete(&mut vm, "small", &[]);
    assert_eq!(code(&mut exchange), (503, "limits_unavailable".to_owned()));
}

#[test]
fn limits_of_an_alias_and_of_a_model_count_too() {
    let limits = Some(v1::Limits {
        concurrent_requests: Some(1),
        ..v1::Limits::default()
    });
    let mut wire = snapshot();
    wire.aliases.push(v1::Alias {
        limits,
        ..alias("narrow", &["openai/small"])
    });
    wire.models[0].limits = limits;
    let mut vm = Vm::gateway_with(wire);
    let mut exchange = complete(&mut vm, "narrow", &[]);
    let asked: v1::AcquireRequest = vm.asked("Acquire");
    let names: Vec<String> = asked
        .wants
        .into_iter()
        .map(|want| want.bucket.unwrap().name)
        .collect();
    assert_eq!(names, ["narrow", "openai/small"]);
    let mut both = grant(1);
    both.grants.push(both.grants[0]);
    vm.answer_for(&mut exchange, "Acquire", &both);
    assert!(exchange.upstream().is_complete);
    let mut second = complete(&mut vm, "narrow", &[]);
    let none = v1::AcquireResponse {
        grants: vec![v1::Grant::default(); 2],
        ..v1::AcquireResponse::default()
    };
    vm.answer_for(&mut second, "Acquire", &none);
    assert_eq!(
        code(&mut second),
        (429, "concurrency_limit_exceeded".to_owned())
    );
    exchange.respond(200, &JSON, b"{}");
    exchange.end();
    vm.tick(TICK);
    // The slot goes back to the control plane, and from there to the next call.
    let released: v1::AcquireRequest = vm.asked("Acquire");
    assert_eq!(released.released.len(), 2);
}

#[test]
fn a_spent_budget_refuses_calls() {
    let mut vm = Vm::gateway_with(config(v1::ClientKey {
        budget: v1::Budget::HardLimit.into(),
        ..client_key("team")
    }));
    let mut exchange = complete(&mut vm, "small", &[]);
    let got = exchange.client();
    assert_eq!(got.status(), 429);
    assert_eq!(got.json()["error"]["type"], "insufficient_quota");
}

#[test]
fn a_key_calls_its_models_only() {
    let mut vm = Vm::gateway_with(config(v1::ClientKey {
        models: vec!["openai/*".to_owned()],
        ..client_key("team")
    }));
    let mut allowed = complete(&mut vm, "openai/other", &[]);
    assert!(allowed.upstream().is_complete);
    let mut refused = complete(&mut vm, "second/large", &[]);
    assert_eq!(refused.client().status(), 403);
    let mut stranger = send(&mut vm, "POST", "/v1/completions", &JSON, b"{}");
    assert_eq!(stranger.client().status(), 401);
    stranger.end();
    refused.end();
    let traces = vm.records().traces;
    assert_eq!(traces.len(), 1, "strangers leave no trace");
}

#[test]
fn a_model_that_keeps_failing_is_not_called() {
    let mut vm = Vm::gateway_with(config(client_key("team")));
    for _ in 0..5 {
        let mut exchange = complete(&mut vm, "small", &[]);
        exchange.respond(500, &JSON, &error("no"));
        exchange.end();
    }
    let mut exchange = complete(&mut vm, "small", &[]);
    assert_eq!(code(&mut exchange), (503, "circuit_open".to_owned()));
    assert_eq!(exchange.client().header("retry-after"), "10");
    assert!(exchange.upstream().headers.is_empty());
}

#[test]
fn content_is_recorded_as_the_policy_says() {
    let mut wire = config(client_key("team"));
    wire.aliases.push(v1::Alias {
        traces: Some(v1::TraceOverride {
            content: Some(false),
            redact: None,
        }),
        ..alias("private", &["openai/small"])
    });
    let mut vm = Vm::gateway_with(wire);
    for (model, headers, is_recorded) in [
        ("small", vec![], true),
        ("small", vec![("x-opentracy-content", "on")], true),
        ("small", vec![("x-opentracy-content", "off")], false),
        ("private", vec![], false),
    ] {
        let mut exchange = complete(&mut vm, model, &headers);
        exchange.respond(200, &JSON, b"{}");
        let (trace, _) = records_of(&mut vm, exchange);
        assert_eq!(trace.request.is_empty(), !is_recorded, "{model}");
        assert_eq!(trace.response.is_empty(), !is_recorded);
        assert_eq!(trace.status, 200);
    }
    let mut misspelled = complete(&mut vm, "small", &[("x-opentracy-content", "of")]);
    assert_eq!(misspelled.client().status(), 400);
    assert!(misspelled.upstream().headers.is_empty());
}

#[test]
fn personal_data_is_masked_in_what_is_recorded() {
    let mut wire = config(client_key("team"));
    let traces = wire.traces.as_mut().unwrap();
    traces.redact = true;
    traces.detectors = vec!["email".to_owned()];
    let mut vm = Vm::gateway_with(wire);
    let body = json!({"model": "small", "prompt": "Write to ann@example.com"});
    let body = body.to_string();
    let headers = [("authorization", "Bearer team")];
    let mut exchange = send(
        &mut vm,
        "POST",
        "/v1/completions",
        &headers,
        body.as_bytes(),
    );
    assert!(exchange.upstream().text().contains("ann@example.com"));
    exchange.respond(400, &JSON, &error("ann@example.com is unknown"));
    assert!(exchange.client().text().contains("ann@example.com"));
    let (trace, _) = records_of(&mut vm, exchange);
    let message = trace.error.unwrap().message;
    for recorded in [trace.request, trace.response, message.into_bytes()] {
        let text = String::from_utf8(recorded).unwrap();
        assert!(!text.is_empty(), "only the address is masked");
        assert!(!text.contains("ann@example.com"), "{text}");
    }
}
