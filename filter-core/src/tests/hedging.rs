//! Calls of aliases that hedge: Envoy tries the next candidate while the first may still answer.

use std::time::Duration;

use opentracy_proto::v1;

use crate::fake_envoy::{Exchange, InternalListener, SentMessage};
use crate::tests::stages::{Stages, error};
use crate::tests::world::{JSON, alias, chat, completion, snapshot};

/// The end of an attempt that another one has beaten.
const BEATEN: &str = "downstream_remote_reset";

fn stages() -> Stages {
    let mut wire = snapshot();
    let candidates = ["openai/small", "second/large", "anthropic/claude"];
    wire.aliases.push(v1::Alias {
        hedge_after_ms: Some(300),
        ..alias("hedged", &candidates)
    });
    Stages::start(wire)
}

/// Makes a call whose first two attempts overlap. `end` answers them, and returns the answer that
/// Envoy takes.
fn call(
    stages: &mut Stages,
    end: impl FnOnce(Exchange, Exchange) -> SentMessage + Send + 'static,
) -> SentMessage {
    let mut call = stages.gateway.post("/v1/chat/completions", &chat("hedged"));
    let request = call.upstream().clone();
    let answer = stages.listener.stage.run(move |vm| {
        let first = InternalListener::begin(vm, &request, 1);
        vm.tick(Duration::from_millis(300));
        let second = InternalListener::begin(vm, &request, 2);
        vm.tick(Duration::from_millis(100));
        end(first, second)
    });
    call.respond_as(&answer);
    let got = call.client().clone();
    call.end();
    got
}

fn succeed(exchange: &mut Exchange) -> SentMessage {
    exchange.respond(200, &JSON, &completion("Hi"));
    exchange.client().clone()
}

fn results(records: &v1::IngestRequest) -> Vec<(u32, u32, &str)> {
    let attempts = records.attempts.iter();
    attempts
        .map(|attempt| (attempt.number, attempt.status, attempt.error.as_str()))
        .collect()
}

#[test]
fn envoy_is_to_try_the_next_candidate_after_a_while() {
    let mut stages = stages();
    let mut call = stages.gateway.post("/v1/chat/completions", &chat("hedged"));
    let sent = call.upstream();
    assert_eq!(sent.header("x-envoy-hedge-on-per-try-timeout"), "true");
    assert_eq!(sent.header("x-envoy-upstream-rq-per-try-timeout-ms"), "300");
    assert_eq!(sent.header("x-envoy-max-retries"), "2");
}

#[test]
fn the_quicker_candidate_answers_and_the_other_is_abandoned() {
    let mut stages = stages();
    let got = call(&mut stages, |mut first, mut second| {
        let answer = succeed(&mut second);
        first.cut(BEATEN);
        first.end();
        second.end();
        answer
    });
    assert_eq!(got.status(), 200);
    assert_eq!(got.header("x-opentracy-selected-model"), "second/large");
    assert_eq!(got.header("x-opentracy-attempts"), "2");
    let records = stages.gateway.records();
    assert_eq!(records.traces[0].provider, "second");
    assert_eq!(results(&records), [], "the other stage records both");
    let records = stages.listener.records();
    assert_eq!(results(&records), [(1, 0, "abandoned"), (2, 200, "")]);
}

#[test]
fn the_first_candidate_can_still_answer_after_the_second_failed() {
    let mut stages = stages();
    let got = call(&mut stages, |mut first, mut second| {
        second.respond(500, &JSON, &error("no"));
        second.end();
        let answer = succeed(&mut first);
        first.end();
        answer
    });
    assert_eq!(got.status(), 200);
    assert_eq!(got.header("x-opentracy-selected-model"), "openai/small");
    assert_eq!(got.header("x-opentracy-attempts"), "2");
    let records = stages.gateway.records();
    assert_eq!(records.traces[0].provider, "openai");
    assert_eq!(records.traces[0].model, "small");
    let records = stages.listener.records();
    assert_eq!(results(&records), [(2, 500, "server_error"), (1, 200, "")]);
}

#[test]
fn a_slow_candidate_is_not_blamed() {
    let mut stages = stages();
    for _ in 0..10 {
        call(&mut stages, |mut first, mut second| {
            let answer = succeed(&mut second);
            first.cut(BEATEN);
            first.end();
            second.end();
            answer
        });
    }
    let mut call = stages.gateway.post("/v1/chat/completions", &chat("hedged"));
    let plan = call.upstream().header("x-opentracy-plan").to_owned();
    assert!(plan.contains(r#"["openai/small","second/large""#), "{plan}");
}
