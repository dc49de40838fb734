//! A conversation with one model.

use crate::fake_envoy::Vm;
use crate::tests::world::{JSON, chat, completion, snapshot};

#[test]
fn a_call_reaches_its_provider_and_its_answer_the_client() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = vm.post("/v1/chat/completions", &chat("openai/small"));
    let sent = exchange.upstream().clone();
    assert!(sent.is_complete);
    assert_eq!(sent.header("x-opentracy-cluster"), "provider_openai");
    assert_eq!(sent.header(":path"), "/v1/chat/completions");
    assert_eq!(sent.header("authorization"), "Bearer key-of-openai");
    assert_eq!(sent.json()["model"], "small");
    exchange.respond(200, &JSON, &completion("Hi"));
    let got = exchange.client().clone();
    assert_eq!((got.status(), got.is_complete), (200, true));
    assert_eq!(got.header("x-opentracy-selected-model"), "openai/small");
    assert_eq!(got.json()["choices"][0]["message"]["content"], "Hi");
    exchange.end();
    let records = vm.records();
    assert_eq!(records.traces[0].provider, "openai");
    assert_eq!(records.traces[0].usage.unwrap().input, 10);
    assert_eq!(records.attempts[0].status, 200);
}
