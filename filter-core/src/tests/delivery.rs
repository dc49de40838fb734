//! Records on their way to the control plane.

use std::time::Duration;

use opentracy_proto::v1;
use serde_json::json;

use crate::fake_envoy::Vm;
use crate::root::TICK;
use crate::tests::stages::{call, faults};
use crate::tests::world::{JSON, chat, completion, snapshot};

const INVALID_ARGUMENT: u32 = 3;
const UNAVAILABLE: u32 = 14;
const DROPPED: &str = "opentracy.records_dropped";

/// Makes a call whose trace is about this long.
fn call_of(vm: &mut Vm, bytes: usize) {
    let mut body = chat("only");
    body["messages"][0]["content"] = json!("x".repeat(bytes));
    call(vm, &body, 200, &completion("Hi"));
}

/// Returns the ids of the traces in the batches that are in flight.
fn in_flight(vm: &Vm) -> Vec<Vec<String>> {
    let decode = |message: &[u8]| -> v1::IngestRequest { prost::Message::decode(message).unwrap() };
    let ids = |batch: v1::IngestRequest| batch.traces.into_iter().map(|trace| trace.id).collect();
    let calls = vm.pending("Ingest");
    calls
        .iter()
        .map(|call| ids(decode(&call.message)))
        .collect()
}

fn acknowledge(vm: &mut Vm) {
    vm.answer("Ingest", &v1::IngestResponse::default());
}

/// Acknowledges everything, and returns the traces.
fn all_traces(vm: &mut Vm) -> Vec<v1::Trace> {
    let mut all = Vec::new();
    loop {
        let traces = vm.records().traces;
        if traces.is_empty() {
            return all;
        }
        all.extend(traces);
    }
}

#[test]
fn the_records_of_a_moment_go_out_together() {
    let mut vm = Vm::gateway_with(snapshot());
    for _ in 0..3 {
        call_of(&mut vm, 10);
    }
    assert!(in_flight(&vm).is_empty());
    vm.tick(TICK);
    let batches = in_flight(&vm);
    assert_eq!((batches.len(), batches[0].len()), (1, 3));
    vm.tick(Duration::from_secs(5));
    assert_eq!(in_flight(&vm).len(), 1, "it waits for its acknowledgement");
    acknowledge(&mut vm);
    vm.tick(Duration::from_secs(5));
    assert!(in_flight(&vm).is_empty());
}

#[test]
fn four_large_batches_are_in_flight_at_most() {
    let mut vm = Vm::gateway_with(snapshot());
    for _ in 0..7 {
        call_of(&mut vm, 300_000);
    }
    vm.tick(TICK);
    assert_eq!(in_flight(&vm).len(), 4);
    acknowledge(&mut vm);
    assert_eq!(in_flight(&vm).len(), 4, "the next goes out at once");
    let batches = in_flight(&vm);
    assert!(batches.iter().all(|batch| batch.len() == 1));
    assert_eq!(all_traces(&mut vm).len(), 6);
}

#[test]
fn a_delivery_that_failed_is_repeated_after_a_pause() {
    let mut vm = Vm::gateway_with(snapshot());
    call_of(&mut vm, 10);
    vm.tick(TICK);
    let sent = in_flight(&vm);
    vm.fail("Ingest", UNAVAILABLE);
    call_of(&mut vm, 10);
    vm.tick(Duration::from_millis(900));
    assert!(in_flight(&vm).is_empty());
    vm.tick(TICK);
    let again = in_flight(&vm);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0][0], sent[0][0]);
    assert_eq!(again[0].len(), 2, "with what came in the meantime");
}

#[test]
fn records_that_the_control_plane_finds_invalid_are_not_sent_again() {
    let mut vm = Vm::gateway_with(snapshot());
    call_of(&mut vm, 10);
    vm.tick(TICK);
    let refused = in_flight(&vm);
    vm.fail("Ingest", INVALID_ARGUMENT);
    call_of(&mut vm, 10);
    vm.tick(TICK);
    let next = in_flight(&vm);
    assert_eq!(next[0].len(), 1, "at once, and without the refused one");
    assert_ne!(next[0], refused[0]);
}

#[test]
fn a_call_that_envoy_refuses_loses_nothing() {
    let mut vm = Vm::gateway_with(snapshot());
    vm.envoy.refuse_calls(true);
    call_of(&mut vm, 10);
    vm.tick(Duration::from_secs(3));
    vm.envoy.refuse_calls(false);
    assert_eq!(vm.records().traces.len(), 1);
}

#[test]
fn the_end_of_a_vm_sends_what_waits() {
    let mut vm = Vm::gateway_with(snapshot());
    call_of(&mut vm, 10);
    vm.tick(TICK);
    let sent = in_flight(&vm);
    vm.fail("Ingest", UNAVAILABLE);
    vm.finish();
    assert_eq!(in_flight(&vm), sent, "in spite of the pause");
}

#[test]
fn many_waiting_records_are_a_fault() {
    let mut vm = Vm::gateway_with(snapshot());
    for _ in 0..5 {
        call_of(&mut vm, 1 << 20);
    }
    assert_eq!(faults(&mut vm), ["traces_waiting"]);
    assert_eq!(all_traces(&mut vm).len(), 5);
    assert!(faults(&mut vm).is_empty());
}

#[test]
fn a_full_outbox_drops_content_first_and_then_counts_lost_records() {
    const BYTES: usize = 4 << 20;
    let mut wire = snapshot();
    wire.traces.as_mut().unwrap().max_content_bytes = u32::MAX;
    let mut vm = Vm::gateway_with(wire);
    vm.envoy.refuse_calls(true);
    // A body that is only passed on is quick to read.
    let large = json!({"model": "small", "input": "x".repeat(BYTES)});
    for _ in 0..14 {
        let mut exchange = vm.post("/v1/moderations", &large);
        exchange.respond(200, &JSON, b"{}");
        exchange.end();
    }
    assert_eq!(vm.envoy.metric(DROPPED), 0);
    // The user of a call isn't content.
    let mut body = chat("only");
    body["user"] = json!("u".repeat(BYTES));
    for _ in 0..3 {
        call(&mut vm, &body, 200, &completion("Hi"));
    }
    vm.tick(TICK);
    assert_eq!(vm.envoy.metric(DROPPED), 1);
    assert_eq!(faults(&mut vm), ["traces_dropped", "traces_waiting"]);

    vm.envoy.refuse_calls(false);
    let traces = all_traces(&mut vm);
    assert_eq!(traces.len(), 16);
    let (whole, without) = traces.split_at(13);
    assert!(whole.iter().all(|trace| trace.request.len() > BYTES));
    assert!(whole.iter().all(|trace| !trace.content_truncated));
    for trace in without {
        assert!(trace.content_truncated);
        assert!(trace.request.is_empty() && trace.response.is_empty());
        assert_eq!(trace.status, 200);
    }
    call_of(&mut vm, 10);
    assert!(!vm.records().traces[0].content_truncated);
    vm.tick(Duration::from_secs(60));
    assert!(!faults(&mut vm).contains(&"traces_dropped".to_owned()));
}
