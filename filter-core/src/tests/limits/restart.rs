//! Limits after a restart of the control plane, which then knows no lease.

use opentracy_proto::v1::{self, Unit};

use crate::fake_envoy::Vm;
use crate::root::TICK;
use crate::tests::limits::world::{
    UNAVAILABLE, answer, ask, concurrent, grant, grant_until, is_sent, is_waiting, limited,
    released, requests,
};
use crate::tests::world::error;

/// Answers the oldest poll as a control plane that knows the VM, or does not.
fn answer_poll(vm: &mut Vm, introduce: bool) {
    let response = v1::GetSnapshotResponse {
        introduce,
        vms: 1,
        ..v1::GetSnapshotResponse::default()
    };
    vm.answer("GetSnapshot", &response);
}

/// Lets the VM poll a control plane that has restarted; returns the introduction that follows.
fn introduction(vm: &mut Vm) -> v1::Introduction {
    while vm.pending("GetSnapshot").is_empty() {
        vm.tick(TICK);
    }
    let poll: v1::GetSnapshotRequest = vm.asked("GetSnapshot");
    assert_eq!(poll.introduction, None, "it was known");
    answer_poll(vm, true);
    vm.tick(TICK);
    let poll: v1::GetSnapshotRequest = vm.asked("GetSnapshot");
    poll.introduction.expect("an introduction, at once")
}

fn units(introduction: &v1::Introduction) -> Vec<(Unit, u64)> {
    let held = introduction.held.iter();
    held.map(|held| (held.bucket.clone().unwrap().unit(), held.units))
        .collect()
}

#[test]
fn a_new_vm_introduces_itself_with_its_first_poll() {
    let mut vm = Vm::gateway();
    vm.tick(TICK);
    let poll: v1::GetSnapshotRequest = vm.asked("GetSnapshot");
    let introduction = poll.introduction.unwrap();
    assert!(introduction.held.is_empty() && !introduction.again);
    assert!(introduction.number > 0);
}

#[test]
fn a_restarted_control_plane_hears_of_slots_in_use() {
    let mut vm = Vm::gateway_with(limited(concurrent(10)));
    let mut first = ask(&mut vm);
    grant(&mut vm, &mut first, 1);
    let mut second = ask(&mut vm);
    grant(&mut vm, &mut second, 1);
    answer(first);
    vm.tick(TICK);
    assert_eq!(released(&vm), [(Unit::Concurrent, 1)]);
    vm.fail("Acquire", UNAVAILABLE);
    let introduced = introduction(&mut vm);
    assert_eq!(units(&introduced), [(Unit::Concurrent, 1)]);
    assert!(introduced.again);
    answer_poll(&mut vm, false);
    answer(second);
    vm.tick(TICK * 11);
    assert_eq!(released(&vm), [(Unit::Concurrent, 1)], "counted from 0");
}

#[test]
fn requests_of_the_current_minute_are_held_and_those_of_an_earlier_one_are_not() {
    let mut vm = Vm::gateway_with(limited(requests(10)));
    let mut exchange = ask(&mut vm);
    grant_until(&mut vm, &mut exchange, 2, 30_000);
    assert!(is_sent(&mut ask(&mut vm)));
    assert_eq!(units(&introduction(&mut vm)), [(Unit::Requests, 2)]);
    answer_poll(&mut vm, false);
    vm.tick(TICK * 300);
    answer_poll(&mut vm, false);
    assert_eq!(units(&introduction(&mut vm)), []);
}

#[test]
fn until_it_is_introduced_a_vm_keeps_to_its_share() {
    let mut vm = Vm::gateway_with(limited(requests(1)));
    let mut exchange = ask(&mut vm);
    let unknown = v1::AcquireResponse {
        introduce: true,
        ..v1::AcquireResponse::default()
    };
    vm.answer_for(&mut exchange, "Acquire", &unknown);
    assert!(is_sent(&mut exchange), "its share is one request");
    let mut next = ask(&mut vm);
    let got = error(next.client());
    assert_eq!(got, (429, "rate_limit_exceeded".to_owned()));
    vm.tick(TICK);
    let poll: v1::GetSnapshotRequest = vm.asked("GetSnapshot");
    assert_eq!(units(&poll.introduction.unwrap()), [], "nobody granted it");
    answer_poll(&mut vm, false);
    assert!(is_waiting(&mut ask(&mut vm)), "limits hold again");
}

#[test]
fn a_grant_of_before_the_introduction_is_void() {
    let mut vm = Vm::gateway_with(limited(concurrent(1)));
    let mut late = ask(&mut vm);
    introduction(&mut vm);
    answer_poll(&mut vm, false);
    grant(&mut vm, &mut late, 1);
    assert!(is_sent(&mut late), "within the own share");
    answer(late);
    vm.tick(TICK);
    assert!(released(&vm).is_empty(), "the new one has granted no slot");
}
