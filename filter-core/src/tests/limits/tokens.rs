//! Tokens for each minute: estimated before a call, and counted after it.

use std::time::Duration;

use opentracy_proto::v1::{Owner, Unit};
use serde_json::{Value, json};

use crate::fake_envoy::Vm;
use crate::root::TICK;
use crate::tests::limits::world::{
    acquisitions, answer, ask_for, grant, grant_until, is_waiting, limited, long, released,
    requests, tokens, unanswered, wanted,
};
use crate::tests::world::{JSON, completion, error};

#[test]
fn a_request_over_the_whole_limit_is_refused_at_once() {
    let mut vm = Vm::gateway_with(limited(tokens(1000)));
    let mut exchange = ask_for(&mut vm, &long(5000));
    let got = exchange.client();
    assert_eq!(error(got), (429, "rate_limit_exceeded".to_owned()));
    assert!(got.text().contains("more than"));
    assert_eq!(got.header("retry-after"), "", "waiting does not help");
    assert!(acquisitions(&vm).is_empty());
}

#[test]
fn tokens_are_estimated_first_and_the_rest_returned_after_the_answer() {
    let mut vm = Vm::gateway_with(limited(tokens(1000)));
    let mut exchange = ask_for(&mut vm, &long(400));
    let estimate = wanted(&vm)[0].3;
    assert!((400..450).contains(&estimate), "{estimate}");
    grant(&mut vm, &mut exchange, estimate);
    vm.tick(Duration::from_secs(1));
    assert!(released(&vm).is_empty(), "they are in use");
    answer(exchange);
    vm.tick(TICK);
    assert_eq!(released(&vm), [(Unit::Tokens, estimate - 15)]);
    assert!(is_waiting(&mut ask_for(&mut vm, &long(400))));
}

#[test]
fn a_call_that_never_reached_a_provider_used_no_tokens() {
    let mut vm = Vm::gateway_with(limited(tokens(1000)));
    let mut exchange = ask_for(&mut vm, &long(400));
    let estimate = wanted(&vm)[0].3;
    grant(&mut vm, &mut exchange, estimate);
    exchange.cut("downstream_remote_disconnect");
    exchange.end();
    vm.tick(TICK);
    assert_eq!(released(&vm), [(Unit::Tokens, estimate)]);
}

#[test]
fn tokens_beyond_an_estimate_are_owed_even_in_the_next_minute() {
    let mut vm = Vm::gateway_with(limited(tokens(10_000)));
    let mut exchange = ask_for(&mut vm, &long(400));
    let estimate = wanted(&vm)[0].3;
    grant_until(&mut vm, &mut exchange, estimate, 5000);
    let usage = json!({"prompt_tokens": 2000, "completion_tokens": 1000, "total_tokens": 3000});
    let mut body: Value = serde_json::from_slice(&completion("Hi")).unwrap();
    body["usage"] = usage;
    exchange.respond(200, &JSON, body.to_string().as_bytes());
    exchange.end();
    ask_for(&mut vm, &long(400));
    assert_eq!(wanted(&vm)[0].3, 3000);
    vm.tick(Duration::from_secs(5));
    ask_for(&mut vm, &long(400));
    assert_eq!(wanted(&vm)[0].3, 3000);
}

#[test]
fn unused_tokens_of_a_lease_go_back_at_the_next_tick() {
    let mut vm = Vm::gateway_with(limited(tokens(1000)));
    let mut exchange = ask_for(&mut vm, &long(10));
    let estimate = wanted(&vm)[0].3;
    grant(&mut vm, &mut exchange, estimate + 20);
    assert!(released(&vm).is_empty());
    vm.tick(Duration::from_millis(100));
    assert_eq!(released(&vm), [(Unit::Tokens, 20)]);
    vm.tick(Duration::from_secs(1));
    assert_eq!(released(&vm).len(), 1, "once");
}

#[test]
fn tokens_stay_in_the_last_second_of_their_minute() {
    let mut vm = Vm::gateway_with(limited(tokens(1000)));
    let mut exchange = ask_for(&mut vm, &long(10));
    let estimate = wanted(&vm)[0].3;
    grant_until(&mut vm, &mut exchange, estimate + 20, 1000);
    vm.tick(Duration::from_secs(2));
    assert!(released(&vm).is_empty());
}

#[test]
fn a_call_that_ends_in_a_later_minute_returns_nothing_to_it() {
    let mut vm = Vm::gateway_with(limited(tokens(1000)));
    let mut slow = ask_for(&mut vm, &long(400));
    let estimate = wanted(&vm)[0].3;
    grant_until(&mut vm, &mut slow, estimate, 1000);
    vm.tick(Duration::from_secs(2));
    let mut next = ask_for(&mut vm, &long(400));
    grant_until(&mut vm, &mut next, estimate, 59_000);
    answer(slow);
    vm.tick(Duration::from_millis(100));
    assert!(released(&vm).is_empty());
    answer(next);
    vm.tick(TICK);
    assert_eq!(released(&vm), [(Unit::Tokens, estimate - 15)]);
}

#[test]
fn the_tokens_of_a_caller_return_if_the_model_refuses() {
    let mut snapshot = limited(tokens(1000));
    snapshot.models[0].limits = Some(requests(2));
    let mut vm = Vm::gateway_with(snapshot);
    let mut exchange = ask_for(&mut vm, &long(400));
    let estimate = wanted(&vm)[0].3;
    grant(&mut vm, &mut exchange, estimate);
    assert_eq!(wanted(&vm)[0].0, Owner::Model);
    grant(&mut vm, &mut exchange, 0);
    assert_eq!(exchange.client().status(), 429);
    exchange.end();
    vm.tick(TICK);
    assert_eq!(released(&vm), [(Unit::Tokens, estimate)]);
}

#[test]
fn a_client_that_leaves_before_the_grant_returns_no_tokens() {
    let mut vm = Vm::gateway_with(limited(tokens(1000)));
    let mut gone = ask_for(&mut vm, &long(400));
    let number = acquisitions(&vm)[0].number;
    gone.cut("downstream_remote_disconnect");
    gone.end();
    vm.tick(TICK);
    assert!(released(&vm).is_empty());
    assert_eq!(unanswered(&vm), [number]);
    ask_for(&mut vm, &long(400));
    assert!(wanted(&vm)[0].3 < 450, "nothing is owed");
}
