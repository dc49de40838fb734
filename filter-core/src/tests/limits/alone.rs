//! Limits while the control plane does not answer.

use std::time::Duration;

use opentracy_proto::v1::{self, Unit};

use crate::fake_envoy::{Exchange, GATEWAY, Vm, VmThread};
use crate::root::TICK;
use crate::tests::limits::world::{
    UNAVAILABLE, answer, ask, concurrent, grant, is_sent, is_waiting, limited, released, requests,
};
use crate::tests::world::error;

const MINUTE: Duration = Duration::from_secs(60);

/// Sends requests until one is not sent; returns the number before it, and it.
fn exhaust(vm: &mut Vm) -> (usize, Exchange) {
    for number in 0..1000 {
        let mut exchange = ask(vm);
        if !is_sent(&mut exchange) {
            return (number, exchange);
        }
    }
    panic!("every request was sent")
}

#[test]
fn without_the_control_plane_a_vm_keeps_to_its_share_of_each_minute() {
    let mut vm = Vm::gateway_with(limited(requests(40)));
    vm.tick(Duration::from_secs(1));
    let four = v1::GetSnapshotResponse {
        vms: 4,
        ..v1::GetSnapshotResponse::default()
    };
    vm.answer("GetSnapshot", &four);
    let mut first = ask(&mut vm);
    vm.tick(Duration::from_millis(100));
    vm.fail_for(&mut first, "Acquire", UNAVAILABLE);
    assert!(is_sent(&mut first));
    let (more, mut refused) = exhaust(&mut vm);
    assert_eq!(more, 9);
    vm.fail_for(&mut refused, "Acquire", UNAVAILABLE);
    assert_eq!(
        error(refused.client()),
        (429, "rate_limit_exceeded".to_owned())
    );
    let (more, mut refused) = exhaust(&mut vm);
    assert_eq!((more, refused.client().status()), (0, 429));
    assert_eq!(refused.client().header("retry-after"), "61");
    vm.tick(MINUTE);
    let mut next = ask(&mut vm);
    assert!(is_waiting(&mut next), "it may be back");
    vm.fail_for(&mut next, "Acquire", UNAVAILABLE);
    assert_eq!(exhaust(&mut vm).0, 9);
}

#[test]
fn vms_of_one_envoy_share_a_limit_once_they_have_started() {
    // It polled before the other one had started, so the control plane reported one VM to it.
    let mut vm = Vm::gateway_with(limited(requests(40)));
    let other = VmThread::start(&vm.envoy, GATEWAY);
    other.run(|vm| vm.tick(TICK));
    vm.envoy.refuse_calls(true);
    assert_eq!(exhaust(&mut vm).0, 20);
    // A VM that traps ends without a word.
    drop(other);
    vm.tick(MINUTE + Duration::from_secs(1));
    assert_eq!(exhaust(&mut vm).0, 40);
}

#[test]
fn calls_that_envoy_refuses_leave_the_share_too() {
    let mut vm = Vm::gateway_with(limited(requests(40)));
    vm.envoy.refuse_calls(true);
    assert_eq!(exhaust(&mut vm).0, 40);
    vm.envoy.refuse_calls(false);
    vm.tick(MINUTE);
    let mut next = ask(&mut vm);
    grant(&mut vm, &mut next, 1);
    assert!(is_sent(&mut next));
    assert!(is_waiting(&mut ask(&mut vm)), "leases again");
}

#[test]
fn without_the_control_plane_a_configuration_may_refuse() {
    let mut snapshot = limited(requests(40));
    snapshot.refuse_without_limits = true;
    let mut vm = Vm::gateway_with(snapshot);
    let mut exchange = ask(&mut vm);
    grant(&mut vm, &mut exchange, 2);
    assert!(is_sent(&mut ask(&mut vm)), "granted before");
    let mut exchange = ask(&mut vm);
    vm.fail_for(&mut exchange, "Acquire", UNAVAILABLE);
    let got = exchange.client().clone();
    assert_eq!(error(&got), (503, "limits_unavailable".to_owned()));
    assert_eq!(got.header("retry-after"), "1");
    vm.envoy.refuse_calls(true);
    let mut exchange = ask(&mut vm);
    assert_eq!(
        error(exchange.client()),
        (503, "limits_unavailable".to_owned())
    );
}

#[test]
fn slots_of_the_own_share_are_not_returned() {
    let mut vm = Vm::gateway_with(limited(concurrent(2)));
    vm.envoy.refuse_calls(true);
    let mut first = ask(&mut vm);
    let mut second = ask(&mut vm);
    assert!(is_sent(&mut first) && is_sent(&mut second));
    let mut third = ask(&mut vm);
    assert_eq!(
        error(third.client()),
        (429, "concurrency_limit_exceeded".to_owned())
    );
    answer(first);
    let mut fourth = ask(&mut vm);
    assert!(is_sent(&mut fourth), "its slot is free");
    vm.envoy.refuse_calls(false);
    answer(second);
    answer(fourth);
    vm.tick(Duration::from_millis(100));
    assert_eq!(released(&vm), [], "the control plane granted none of them");
    let mut next = ask(&mut vm);
    assert!(is_waiting(&mut next));
    grant(&mut vm, &mut next, 1);
    answer(next);
    vm.tick(TICK);
    assert_eq!(released(&vm), [(Unit::Concurrent, 1)]);
}
