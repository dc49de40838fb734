//! A key with limits, and the control plane that leases units of them.

use opentracy_proto::v1::{self, Owner, Unit};
use prost::Message as _;
use serde_json::{Value, json};

use crate::fake_envoy::{Exchange, Vm};
use crate::tests::world::{JSON, chat, chat_with, completion, key, snapshot};

pub const TEAM: [(&str, &str); 1] = [("authorization", "Bearer sk-team")];
/// A status of gRPC.
pub const UNAVAILABLE: u32 = 14;

/// Returns a limit of requests for each minute.
pub fn requests(limit: u64) -> v1::Limits {
    Unit::Requests.kind().only(limit)
}

/// Returns a limit of tokens for each minute.
pub fn tokens(limit: u64) -> v1::Limits {
    Unit::Tokens.kind().only(limit)
}

/// Returns a limit of concurrent requests.
pub fn concurrent(limit: u64) -> v1::Limits {
    Unit::Concurrent.kind().only(limit)
}

/// Returns a configuration whose key `team` has these limits.
pub fn limited(limits: v1::Limits) -> v1::Snapshot {
    let team = v1::ClientKey {
        limits: Some(limits),
        ..key("team")
    };
    v1::Snapshot {
        keys: vec![team, key("free")],
        ..snapshot()
    }
}

/// Sends a request of the key `team`.
pub fn ask(vm: &mut Vm) -> Exchange {
    ask_for(vm, &chat("openai/small"))
}

/// Sends a request of the key `team` with this body.
pub fn ask_for(vm: &mut Vm, body: &Value) -> Exchange {
    chat_with(vm, &TEAM, body)
}

/// Returns a request whose tokens are estimated at a few more than this.
pub fn long(max_tokens: u64) -> Value {
    let mut body = chat("openai/small");
    body["max_tokens"] = json!(max_tokens);
    body
}

pub fn is_sent(exchange: &mut Exchange) -> bool {
    exchange.upstream().is_complete
}

pub fn is_waiting(exchange: &mut Exchange) -> bool {
    exchange.upstream().headers.is_empty() && exchange.client().headers.is_empty()
}

/// Ends an exchange with an answer of 15 tokens.
pub fn answer(mut exchange: Exchange) {
    exchange.respond(200, &JSON, &completion("Hi"));
    exchange.end();
}

/// Acknowledges the oldest report of returned units.
pub fn acknowledge(vm: &mut Vm) {
    vm.answer("Acquire", &v1::AcquireResponse::default());
}

/// Returns the numbers of the requests that were reported to have got no answer.
pub fn unanswered(vm: &Vm) -> Vec<u64> {
    let all = acquisitions(vm).into_iter();
    all.flat_map(|each| each.unanswered).collect()
}

/// Returns the control plane's latest requests for units and returned units.
pub fn acquisitions(vm: &Vm) -> Vec<v1::AcquireRequest> {
    let calls = vm.pending("Acquire").into_iter();
    calls
        .map(|call| v1::AcquireRequest::decode(call.message.as_slice()).unwrap())
        .collect()
}

/// Returns the units that the last request for them asks for.
pub fn wanted(vm: &Vm) -> Vec<(Owner, String, Unit, u64)> {
    let last = acquisitions(vm).pop().unwrap();
    let wants = last.wants.into_iter();
    wants
        .map(|want| {
            let bucket = want.bucket.unwrap();
            (
                bucket.owner(),
                bucket.name.clone(),
                bucket.unit(),
                want.units,
            )
        })
        .collect()
}

/// Returns the totals of returned units, as they were reported.
pub fn released(vm: &Vm) -> Vec<(Unit, u64)> {
    let all = acquisitions(vm).into_iter().flat_map(|each| each.released);
    all.map(|each| (each.bucket.unwrap().unit(), each.units))
        .collect()
}

/// Grants units of a minute that ends in `reset_ms`.
pub fn grant_until(vm: &mut Vm, exchange: &mut Exchange, units: u64, reset_ms: u64) {
    let grant = v1::Grant {
        units,
        limit: 100,
        remaining: 0,
        reset_ms,
    };
    let response = v1::AcquireResponse {
        grants: vec![grant],
        ..v1::AcquireResponse::default()
    };
    vm.answer_for(exchange, "Acquire", &response);
}

/// Grants units of a minute that has just begun.
pub fn grant(vm: &mut Vm, exchange: &mut Exchange, units: u64) {
    grant_until(vm, exchange, units, 60_000);
}
