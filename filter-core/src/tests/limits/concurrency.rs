//! Concurrent requests.

use std::time::Duration;

use opentracy_proto::v1::{self, Unit};

use crate::fake_envoy::Vm;
use crate::root::TICK;
use crate::tests::limits::world::{
    UNAVAILABLE, acknowledge, acquisitions, answer, ask, concurrent, grant, is_sent, is_waiting,
    limited, released, unanswered,
};
use crate::tests::world::{SSE, error, part};

#[test]
fn only_so_many_requests_are_in_progress_at_once() {
    let mut vm = Vm::gateway_with(limited(concurrent(2)));
    let mut first = ask(&mut vm);
    grant(&mut vm, &mut first, 1);
    let mut second = ask(&mut vm);
    grant(&mut vm, &mut second, 1);
    let mut third = ask(&mut vm);
    grant(&mut vm, &mut third, 0);
    let got = third.client().clone();
    assert_eq!(error(&got), (429, "concurrency_limit_exceeded".to_owned()));
    assert_eq!(got.header("retry-after"), "1");
    third.end();
    vm.tick(TICK);
    assert!(released(&vm).is_empty(), "it had no slot");
    answer(first);
    vm.tick(TICK);
    assert_eq!(released(&vm), [(Unit::Concurrent, 1)]);
    acknowledge(&mut vm);
    second.cut("downstream_remote_disconnect");
    second.end();
    vm.tick(TICK);
    assert_eq!(released(&vm), [(Unit::Concurrent, 2)], "a total");
}

#[test]
fn a_report_of_free_slots_is_repeated_until_it_is_acknowledged() {
    let mut vm = Vm::gateway_with(limited(concurrent(2)));
    let mut exchange = ask(&mut vm);
    grant(&mut vm, &mut exchange, 1);
    answer(exchange);
    vm.tick(TICK);
    vm.fail("Acquire", UNAVAILABLE);
    assert!(released(&vm).is_empty());
    vm.tick(Duration::from_secs(1));
    assert_eq!(released(&vm), [(Unit::Concurrent, 1)]);
    acknowledge(&mut vm);
    vm.tick(Duration::from_secs(2));
    assert!(released(&vm).is_empty());
}

#[test]
fn a_client_that_leaves_before_the_grant_returns_no_slot_and_loses_none() {
    let mut vm = Vm::gateway_with(limited(concurrent(2)));
    let mut gone = ask(&mut vm);
    assert!(is_waiting(&mut gone));
    let number = acquisitions(&vm)[0].number;
    assert!(number > 0);
    gone.cut("downstream_remote_disconnect");
    gone.end();
    vm.tick(TICK);
    assert_eq!(released(&vm), [], "it held none");
    assert_eq!(unanswered(&vm), [number], "it may have been granted");
    vm.fail("Acquire", UNAVAILABLE);
    vm.tick(Duration::from_secs(1));
    assert_eq!(unanswered(&vm), [number], "until it is acknowledged");
    acknowledge(&mut vm);
    vm.tick(Duration::from_secs(2));
    assert!(unanswered(&vm).is_empty());
    let mut next = ask(&mut vm);
    assert!(is_waiting(&mut next), "no units are left here");
}

#[test]
fn a_call_that_failed_is_reported_since_its_grant_may_be_lost() {
    let mut vm = Vm::gateway_with(limited(concurrent(2)));
    let mut exchange = ask(&mut vm);
    let number = acquisitions(&vm)[0].number;
    vm.fail_for(&mut exchange, "Acquire", UNAVAILABLE);
    assert!(is_sent(&mut exchange), "within the own share");
    vm.tick(TICK);
    assert_eq!(unanswered(&vm), [number]);
}

#[test]
fn a_slot_outlives_the_minute() {
    let mut vm = Vm::gateway_with(limited(concurrent(2)));
    let mut slow = ask(&mut vm);
    grant(&mut vm, &mut slow, 1);
    slow.begin_response(200, &SSE, false);
    for _ in 0..40 {
        slow.respond_more(&part("x"), false);
        vm.tick(Duration::from_secs(4));
    }
    assert!(released(&vm).is_empty());
    slow.end();
    vm.tick(TICK);
    assert_eq!(released(&vm), [(Unit::Concurrent, 1)]);
}

#[test]
fn a_free_slot_is_used_again_at_once_and_returned_at_the_next_tick() {
    let mut vm = Vm::gateway_with(limited(concurrent(100)));
    let mut first = ask(&mut vm);
    grant(&mut vm, &mut first, 1);
    answer(first);
    let mut second = ask(&mut vm);
    assert!(is_sent(&mut second), "without the control plane");
    answer(second);
    assert!(released(&vm).is_empty());
    vm.tick(Duration::from_millis(100));
    assert_eq!(released(&vm), [(Unit::Concurrent, 1)]);
}

#[test]
fn a_request_that_one_limit_refuses_holds_no_units_of_another() {
    let limits = v1::Limits {
        requests_per_minute: Some(10),
        concurrent_requests: Some(10),
        ..v1::Limits::default()
    };
    let mut vm = Vm::gateway_with(limited(limits));
    let mut exchange = ask(&mut vm);
    let units = |units: u64| v1::Grant {
        units,
        limit: 10,
        remaining: 0,
        reset_ms: 60_000,
    };
    let response = v1::AcquireResponse {
        grants: vec![units(0), units(1)],
        ..v1::AcquireResponse::default()
    };
    vm.answer_for(&mut exchange, "Acquire", &response);
    assert_eq!(
        error(exchange.client()),
        (429, "rate_limit_exceeded".to_owned())
    );
    exchange.end();
    vm.tick(TICK);
    assert_eq!(released(&vm), [(Unit::Concurrent, 1)]);
}
