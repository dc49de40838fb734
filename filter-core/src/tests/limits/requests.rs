//! Requests for each minute: of a key, an alias and a model.

use std::thread;
use std::time::Duration;

use opentracy_proto::v1::{self, Owner, Unit};

use crate::fake_envoy::Vm;
use crate::root::TICK;
use crate::tests::limits::world::{
    acquisitions, ask, ask_for, concurrent, grant, grant_until, is_sent, is_waiting, limited,
    released, requests, wanted,
};
use crate::tests::world::{JSON, alias, chat, chat_with, completion, error, plan};

#[test]
fn a_lease_serves_requests_without_the_control_plane_until_it_is_used_up() {
    let mut vm = Vm::gateway_with(limited(requests(100)));
    let mut first = ask(&mut vm);
    assert!(is_waiting(&mut first));
    let team = || "team".to_owned();
    assert_eq!(wanted(&vm), [(Owner::Key, team(), Unit::Requests, 1)]);
    grant(&mut vm, &mut first, 2);
    assert!(is_sent(&mut first));
    assert!(is_sent(&mut ask(&mut vm)));
    assert!(is_waiting(&mut ask(&mut vm)));
}

#[test]
fn a_caller_without_a_limit_needs_no_lease() {
    let mut vm = Vm::gateway_with(limited(requests(1)));
    let headers = [("authorization", "Bearer sk-free")];
    let mut exchange = chat_with(&mut vm, &headers, &chat("openai/small"));
    assert!(is_sent(&mut exchange));
    exchange.respond(200, &JSON, &completion("Hi"));
    assert_eq!(exchange.client().header("x-ratelimit-limit-requests"), "");
    assert!(acquisitions(&vm).is_empty());
}

#[test]
fn a_client_sees_how_its_limit_stands_instead_of_the_gateways_own() {
    let mut vm = Vm::gateway_with(limited(requests(100)));
    let mut exchange = ask(&mut vm);
    let response = v1::AcquireResponse {
        grants: vec![v1::Grant {
            units: 2,
            limit: 100,
            remaining: 90,
            reset_ms: 40_000,
        }],
        ..v1::AcquireResponse::default()
    };
    vm.answer_for(&mut exchange, "Acquire", &response);
    vm.tick(Duration::from_secs(4));
    let headers = [JSON[0], ("x-ratelimit-limit-requests", "9999")];
    exchange.respond(200, &headers, &completion("Hi"));
    let got = exchange.client();
    assert_eq!(got.header("x-ratelimit-limit-requests"), "100");
    assert_eq!(got.header("x-ratelimit-remaining-requests"), "91");
    assert_eq!(got.header("x-ratelimit-reset-requests"), "36000ms");
}

#[test]
fn a_used_up_limit_refuses_until_the_next_minute() {
    let mut vm = Vm::gateway_with(limited(requests(100)));
    let mut exchange = ask(&mut vm);
    grant_until(&mut vm, &mut exchange, 0, 30_000);
    assert!(exchange.upstream().headers.is_empty());
    let got = exchange.client().clone();
    assert_eq!(error(&got), (429, "rate_limit_exceeded".to_owned()));
    assert_eq!(got.header("retry-after"), "31");
    assert_eq!(got.header("x-ratelimit-remaining-requests"), "0");
    let message = got.json()["error"]["message"].clone();
    assert!(
        message.as_str().unwrap().contains("key \"team\""),
        "{message}"
    );
    exchange.end();
    let trace = vm.records().traces.remove(0);
    assert_eq!((trace.status, trace.key.as_str()), (429, "team"));
    vm.tick(Duration::from_secs(20));
    let mut exchange = ask(&mut vm);
    assert_eq!(
        exchange.client().header("retry-after"),
        "10",
        "without another call"
    );
    assert!(acquisitions(&vm).is_empty());
    let metric = "opentracy.gateway.limited.rate_limit_exceeded";
    vm.tick(TICK);
    assert_eq!(vm.envoy.metric(metric), 2);
    vm.tick(Duration::from_secs(10));
    let mut exchange = ask(&mut vm);
    assert!(is_waiting(&mut exchange), "a new minute");
    grant(&mut vm, &mut exchange, 1);
    assert!(is_sent(&mut exchange));
}

#[test]
fn requests_left_over_from_a_minute_are_void_in_the_next() {
    let mut vm = Vm::gateway_with(limited(requests(100)));
    let mut exchange = ask(&mut vm);
    grant_until(&mut vm, &mut exchange, 10, 5000);
    vm.tick(Duration::from_millis(4900));
    assert!(is_sent(&mut ask(&mut vm)));
    vm.tick(Duration::from_millis(100));
    assert!(is_waiting(&mut ask(&mut vm)));
    assert!(released(&vm).is_empty(), "requests are not returned");
}

#[test]
fn a_limit_of_zero_refuses_at_once_and_says_so() {
    for (limits, code) in [
        (requests(0), "rate_limit_exceeded"),
        (concurrent(0), "concurrency_limit_exceeded"),
    ] {
        let check = move || {
            let mut vm = Vm::gateway_with(limited(limits));
            let mut exchange = ask(&mut vm);
            let got = exchange.client();
            assert_eq!(error(got), (429, code.to_owned()));
            assert!(!got.text().contains("tokens"), "{}", got.text());
            assert!(acquisitions(&vm).is_empty());
        };
        thread::spawn(check).join().expect("a gateway stage");
    }
}

#[test]
fn an_alias_has_a_limit_for_all_callers_together() {
    let mut snapshot = limited(v1::Limits::default());
    snapshot.aliases.push(v1::Alias {
        limits: Some(requests(2)),
        ..alias("narrow", &["openai/small"])
    });
    let mut vm = Vm::gateway_with(snapshot);
    let mut exchange = ask_for(&mut vm, &chat("narrow"));
    let narrow = "narrow".to_owned();
    assert_eq!(wanted(&vm), [(Owner::Alias, narrow, Unit::Requests, 1)]);
    grant(&mut vm, &mut exchange, 2);
    let headers = [("authorization", "Bearer sk-free")];
    assert!(is_sent(&mut chat_with(&mut vm, &headers, &chat("narrow"))));
    let mut exchange = ask_for(&mut vm, &chat("narrow"));
    grant(&mut vm, &mut exchange, 0);
    assert!(exchange.client().text().contains("alias \\\"narrow\\\""));
}

#[test]
fn a_model_at_its_limit_gives_way_to_the_next() {
    let mut snapshot = limited(v1::Limits::default());
    snapshot.models[0].limits = Some(requests(2));
    let mut vm = Vm::gateway_with(snapshot);
    let mut exchange = ask_for(&mut vm, &chat("chain"));
    let small = "openai/small".to_owned();
    assert_eq!(wanted(&vm), [(Owner::Model, small, Unit::Requests, 1)]);
    grant(&mut vm, &mut exchange, 1);
    assert_eq!(plan(exchange.upstream()).len(), 2);
    let mut exchange = ask_for(&mut vm, &chat("chain"));
    grant(&mut vm, &mut exchange, 0);
    let sent = exchange.upstream();
    assert_eq!(sent.header("x-opentracy-cluster"), "provider_second");
    let mut exchange = ask_for(&mut vm, &chat("openai/small"));
    let got = exchange.client();
    assert_eq!(error(got), (429, "rate_limit_exceeded".to_owned()));
    assert!(got.text().contains("model \\\"openai/small\\\""));
}

#[test]
fn a_refusal_by_the_models_limit_leaves_the_half_open_probe_to_the_next_request() {
    let mut snapshot = limited(v1::Limits::default());
    snapshot.models[0].limits = Some(requests(100));
    let mut vm = Vm::gateway_with(snapshot);
    for turn in 0..5 {
        let mut exchange = ask(&mut vm);
        if turn == 0 {
            grant_until(&mut vm, &mut exchange, 5, 5000);
        }
        exchange.respond(500, &JSON, b"{}");
        exchange.end();
    }
    let mut exchange = ask(&mut vm);
    assert_eq!(error(exchange.client()), (503, "circuit_open".to_owned()));
    vm.tick(Duration::from_secs(10));
    let mut exchange = ask(&mut vm);
    grant_until(&mut vm, &mut exchange, 0, 1000);
    assert_eq!(
        error(exchange.client()),
        (429, "rate_limit_exceeded".to_owned())
    );
    vm.tick(Duration::from_secs(1));
    let mut exchange = ask(&mut vm);
    grant(&mut vm, &mut exchange, 1);
    assert!(is_sent(&mut exchange), "it is the probe");
}
