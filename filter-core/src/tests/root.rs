//! A VM and its control plane: the configuration, and the faults of an Envoy's VMs.

use std::time::Duration;

use opentracy_proto::v1;
use serde_json::Value;

use crate::fake_envoy::{FakeEnvoy, GATEWAY, PROVIDER, Vm, VmThread};
use crate::root::TICK;
use crate::tests::stages::{attempt, call, error, faults, get};
use crate::tests::world::{chat, completion, provider, snapshot};

const UNREACHABLE: &str = "opentracy.gateway.event.control_plane_unreachable.events";
const FAILED: &str = "opentracy.gateway.provider.openai.event.provider_failed.events";

/// Answers a poll with a configuration that the VM already has.
fn unchanged() -> v1::GetSnapshotResponse {
    v1::GetSnapshotResponse {
        version: "1".to_owned(),
        vms: 1,
        ..v1::GetSnapshotResponse::default()
    }
}

/// Returns whether a call reaches its provider.
fn serves(vm: &mut Vm) -> bool {
    let mut exchange = vm.post("/v1/chat/completions", &chat("only"));
    exchange.upstream().is_complete
}

fn fail(vm: &mut Vm) {
    call(vm, &chat("only"), 500, &error("no"));
}

fn succeed(vm: &mut Vm) {
    call(vm, &chat("only"), 200, &completion("Hi"));
}

#[test]
fn a_vm_without_a_configuration_is_not_ready() {
    let mut vm = Vm::gateway();
    for path in ["/readyz", "/health"] {
        let got = get(&mut vm, path);
        assert_eq!((got.status(), got.header("retry-after")), (503, "1"));
        assert_eq!(got.json()["status"], "starting");
    }
    assert_eq!(get(&mut vm, "/healthz").status(), 200);
    let got = call(&mut vm, &chat("only"), 200, b"");
    assert_eq!(got.json()["error"]["code"], "gateway_starting");
    vm.configure(snapshot());
    assert_eq!(get(&mut vm, "/readyz").status(), 200);
    assert_eq!(get(&mut vm, "/health").json()["status"], "healthy");
    assert!(serves(&mut vm));
}

#[test]
fn the_configuration_is_polled_once_a_second() {
    let mut vm = Vm::gateway();
    vm.tick(Duration::from_secs(3));
    assert_eq!(vm.pending("GetSnapshot").len(), 1, "one at a time");
    let first: v1::GetSnapshotRequest = vm.asked("GetSnapshot");
    assert_eq!(first.version, "");
    vm.configure(snapshot());
    let mut polls = 0;
    for _ in 0..30 {
        vm.tick(TICK);
        if !vm.pending("GetSnapshot").is_empty() {
            polls += 1;
            vm.answer("GetSnapshot", &unchanged());
        }
    }
    assert_eq!(polls, 3);
}

#[test]
fn a_poll_tells_the_version_and_the_name_of_a_vm_that_serves_clients() {
    let asked = |vm: &mut Vm| -> v1::GetSnapshotRequest {
        vm.tick(Duration::from_secs(1));
        vm.asked("GetSnapshot")
    };
    let mut gateway = Vm::gateway_with(snapshot());
    let poll = asked(&mut gateway);
    assert!(!poll.version.is_empty() && !poll.vm.is_empty());
    gateway.answer("GetSnapshot", &unchanged());
    assert_eq!(asked(&mut gateway).vm, poll.vm, "always the same name");

    let stage = VmThread::start(&gateway.envoy, PROVIDER);
    let poll = stage.run(move |vm| asked(vm));
    assert!(!poll.version.is_empty(), "the shared configuration");
    assert_eq!(poll.vm, "");
}

#[test]
fn a_configuration_that_can_not_be_read_leaves_the_old_one_active() {
    let mut vm = Vm::gateway_with(snapshot());
    vm.tick(Duration::from_secs(1));
    // The types of this message's fields are others.
    vm.answer("GetSnapshot", &v1::IngestResponse { rejected: 1 });
    assert!(serves(&mut vm));
    let health = get(&mut vm, "/health").json();
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["reasons"][0]["code"], "configuration_rejected");
    assert_eq!(health["reasons"][0]["component"], "gateway");
    vm.configure(snapshot());
    assert!(faults(&mut vm).is_empty());
}

#[test]
fn a_newer_configuration_replaces_the_old_one() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut newer = snapshot();
    newer.aliases.clear();
    vm.configure(newer);
    let got = call(&mut vm, &chat("only"), 200, b"");
    assert_eq!(got.json()["error"]["code"], "model_not_found");
}

#[test]
fn the_status_of_the_control_plane_shows_in_health() {
    let mut vm = Vm::gateway_with(snapshot());
    vm.tick(Duration::from_secs(1));
    let reason = v1::HealthReason {
        component: "journal".to_owned(),
        code: "journal_full".to_owned(),
        message: "the disk is full".to_owned(),
        since: "2026-01-02T03:04:05Z".to_owned(),
    };
    let mut answer = unchanged();
    answer.status = Some(v1::ControlPlaneStatus {
        num_models: 7,
        reasons: vec![reason],
        access: "keys".to_owned(),
        ..v1::ControlPlaneStatus::default()
    });
    vm.answer("GetSnapshot", &answer);
    let health = get(&mut vm, "/health").json();
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["num_models"], 7);
    assert_eq!(health["access"], "keys");
    assert_eq!(health["reasons"][0]["code"], "journal_full");
}

#[test]
fn a_vm_that_replaces_another_has_its_configuration_at_once() {
    let envoy = FakeEnvoy::new();
    let first = VmThread::start(&envoy, GATEWAY);
    first.run(|vm| vm.configure(snapshot()));
    drop(first);
    let second = VmThread::start(&envoy, GATEWAY);
    let (status, serves, health) = second.run(|vm| {
        let health = get(vm, "/health").json();
        (get(vm, "/readyz").status(), serves(vm), health)
    });
    assert_eq!((status, serves), (200, true));
    assert_eq!(health["access"], Value::Null, "nothing newer is known");
}

#[test]
fn a_removed_provider_can_be_called_for_some_more_seconds() {
    let mut with = snapshot();
    with.providers.push(provider("old", v1::Format::Openai));
    let mut vm = Vm::provider_with(with);
    vm.configure(snapshot());
    // Configurations that don't change it don't prolong its life.
    for seconds in [0, 4, 3] {
        vm.tick(Duration::from_secs(seconds));
        let mut exchange = attempt(&mut vm, &["old/m"], 1, &chat("alias"));
        let cluster = exchange.upstream().header("x-opentracy-cluster");
        assert_eq!(cluster, "provider_old");
        vm.configure(snapshot());
    }
    vm.envoy.refuse_calls(true);
    let mut exchange = attempt(&mut vm, &["old/m"], 1, &chat("alias"));
    assert_eq!(exchange.client().status(), 503);
}

#[test]
fn a_silent_control_plane_is_reported_once_a_second() {
    let mut vm = Vm::gateway_with(snapshot());
    vm.tick(Duration::from_millis(4900));
    assert_eq!(vm.envoy.metric(UNREACHABLE), 0);
    assert!(faults(&mut vm).is_empty());
    // The tick after the report passes the count on.
    vm.tick(2 * TICK);
    assert_eq!(vm.envoy.metric(UNREACHABLE), 1);
    vm.tick(Duration::from_secs(3));
    assert_eq!(vm.envoy.metric(UNREACHABLE), 4);
    assert_eq!(faults(&mut vm), ["control_plane_unreachable"]);
    assert!(serves(&mut vm), "calls go on");
    vm.answer("GetSnapshot", &unchanged());
    assert!(faults(&mut vm).is_empty());
}

#[test]
fn polls_that_fail_are_repeated_and_count_as_silence() {
    let mut vm = Vm::gateway_with(snapshot());
    for _ in 0..5 {
        vm.tick(Duration::from_secs(1));
        vm.fail("GetSnapshot", 14);
    }
    vm.tick(TICK);
    assert_eq!(faults(&mut vm), ["control_plane_unreachable"]);
}

#[test]
fn the_provider_stage_leaves_the_report_to_the_gateway_stage() {
    let mut vm = Vm::provider_with(snapshot());
    vm.tick(Duration::from_secs(10));
    assert_eq!(vm.envoy.metric(UNREACHABLE), 0);
}

#[test]
fn a_fault_shows_in_the_health_of_every_vm_until_one_resolves_it() {
    let mut one = Vm::gateway_with(snapshot());
    let other = VmThread::start(&one.envoy, GATEWAY);
    fail(&mut one);
    assert_eq!(faults(&mut one), ["provider_failing"]);
    assert_eq!(other.run(faults), ["provider_failing"]);
    other.run(|vm| {
        // A VM looks for the faults of others once a second.
        vm.tick(Duration::from_secs(1));
        succeed(vm);
    });
    assert!(other.run(faults).is_empty());
    assert!(faults(&mut one).is_empty());
    fail(&mut one);
    assert_eq!(other.run(faults), ["provider_failing"], "it is new");
}

#[test]
fn a_fault_that_does_not_occur_again_is_over_after_a_while() {
    let mut vm = Vm::gateway_with(snapshot());
    fail(&mut vm);
    vm.envoy.advance(Duration::from_secs(29));
    assert_eq!(faults(&mut vm), ["provider_failing"]);
    vm.envoy.advance(Duration::from_secs(1));
    assert!(faults(&mut vm).is_empty());
}

#[test]
fn each_occurrence_of_a_fault_counts_and_few_are_written() {
    let mut vm = Vm::gateway_with(snapshot());
    for _ in 0..4 {
        fail(&mut vm);
    }
    vm.tick(Duration::from_secs(1));
    assert_eq!(vm.envoy.metric(FAILED), 4);
    fail(&mut vm);
    let health = get(&mut vm, "/health").json();
    let message = health["reasons"][1]["message"].to_string();
    assert_eq!(health["reasons"][0]["code"], "provider_failing");
    assert!(
        health["reasons"][0]["message"]
            .to_string()
            .contains("5 times")
    );
    assert!(
        message.contains("openai/small"),
        "its breaker is open: {message}"
    );
}

#[test]
fn a_fault_that_comes_back_at_once_shows_again() {
    let mut vm = Vm::gateway_with(snapshot());
    fail(&mut vm);
    succeed(&mut vm);
    assert!(faults(&mut vm).is_empty());
    fail(&mut vm);
    assert_eq!(faults(&mut vm), ["provider_failing"]);
}

#[test]
fn a_refused_key_is_a_fault_of_its_own() {
    let mut vm = Vm::gateway_with(snapshot());
    call(&mut vm, &chat("only"), 401, &error("no"));
    assert_eq!(faults(&mut vm), ["provider_key_refused"]);
    succeed(&mut vm);
    assert!(faults(&mut vm).is_empty());
}

#[test]
fn the_memory_of_all_vms_is_a_metric() {
    let mut one = Vm::gateway_with(snapshot());
    let other = VmThread::start(&one.envoy, PROVIDER);
    let in_use = |one: &Vm| one.envoy.metric("opentracy.vm_memory_bytes");
    one.envoy.set_memory(1000);
    one.tick(TICK);
    other.run(|vm| {
        vm.envoy.set_memory(500);
        vm.tick(TICK);
    });
    assert_eq!(in_use(&one), 1500);
    one.envoy.set_memory(200);
    one.tick(TICK);
    assert_eq!(in_use(&one), 700);
}
