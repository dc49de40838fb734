//! Calls of several attempts, through both stages.

use std::time::Duration;

use opentracy_proto::v1;
use serde_json::{Value, json};

use crate::fake_envoy::{SentMessage, Upstream, Vm};
use crate::tests::stages::{DONE, EVENTS, Stages, all_formats, chunk, clusters, error, event};
use crate::tests::world::{JSON, alias, chat, completion, snapshot};

const RESET: &str = "upstream_reset_before_response_started{connection_termination}";
const REFUSED: &str = "upstream_reset_before_response_started{connection_failure}";

fn hi() -> Upstream {
    Upstream::answer(200, &JSON, completion("Hi"))
}

fn answer(status: u16) -> Upstream {
    Upstream::answer(status, &JSON, error("no"))
}

fn content(answer: &SentMessage) -> Value {
    answer.json()["choices"][0]["message"]["content"].clone()
}

/// Returns the number, the status and the error of each attempt.
fn results(records: &v1::IngestRequest) -> Vec<(u32, u32, &str)> {
    let attempts = records.attempts.iter();
    attempts
        .map(|attempt| (attempt.number, attempt.status, attempt.error.as_str()))
        .collect()
}

#[test]
fn the_second_candidate_answers_if_the_first_is_limited() {
    let mut stages = Stages::start(snapshot());
    let limited = answer(429).after(Duration::from_millis(200));
    let (requests, got) = stages.call(
        &chat("chain"),
        vec![limited, hi().after(Duration::from_millis(300))],
    );
    assert_eq!(clusters(&requests), ["provider_openai", "provider_second"]);
    assert_eq!(requests[0].json()["model"], "small");
    assert_eq!(requests[1].json()["model"], "large");
    assert_eq!(requests[1].header("authorization"), "Bearer key-of-second");
    assert_eq!((got.status(), content(&got)), (200, json!("Hi")));
    assert_eq!(got.header("x-opentracy-attempts"), "2");
    assert_eq!(got.header("x-opentracy-selected-model"), "second/large");
    assert_eq!(got.header("x-opentracy-attempt-log"), "");
    assert_eq!(got.json()["_routing"]["attempts"], 2);
    assert_eq!(got.json()["_latency_ms"], 500.0);

    let records = stages.gateway.records();
    let trace = &records.traces[0];
    assert_eq!((trace.alias.as_str(), trace.status), ("chain", 200));
    assert_eq!(
        (trace.provider.as_str(), trace.model.as_str()),
        ("second", "large")
    );
    assert_eq!(trace.latency_micros, 500_000);
    let cost = trace.cost.unwrap().total;
    assert!((cost - 15e-6).abs() < 1e-12, "{cost}");
    assert!(records.attempts.is_empty(), "the other stage records them");
    let attempts = stages.listener.records();
    assert_eq!(results(&attempts), [(1, 429, "rate_limit"), (2, 200, "")]);
    assert!(attempts.attempts.iter().all(|own| own.trace_id == trace.id));
}

#[test]
fn the_second_candidate_answers_if_the_first_gives_no_answer() {
    let mut stages = Stages::start(snapshot());
    for (failure, why) in [
        (Upstream::failure(503, REFUSED), "connection_failed"),
        (Upstream::failure(503, RESET), "connection_reset"),
        (Upstream::failure(503, "overflow"), "overloaded"),
        (Upstream::silence(), "timeout"),
    ] {
        let (requests, got) = stages.call(&chat("chain"), vec![failure, hi()]);
        assert_eq!(requests.len(), 2);
        assert_eq!((got.status(), content(&got)), (200, json!("Hi")));
        let records = stages.listener.records();
        assert_eq!(results(&records), [(1, 0, why), (2, 200, "")]);
    }
}

#[test]
fn the_second_candidate_answers_if_a_stream_begins_with_an_error() {
    let mut stages = Stages::start(snapshot());
    let mut body = chat("chain");
    body["stream"] = json!(true);
    let broken = event(&json!({"error": {"message": "busy", "code": 503}}));
    let whole = [&chunk("Hi")[..], DONE].concat();
    let (_, got) = stages.call(
        &body,
        vec![
            Upstream::answer(200, &EVENTS, broken),
            Upstream::answer(200, &EVENTS, whole),
        ],
    );
    assert_eq!(got.status(), 200);
    assert_eq!(got.header("content-type"), "text/event-stream");
    assert_eq!(got.header("x-opentracy-selected-model"), "second/large");
    let text = got.text();
    assert!(text.contains("Hi") && !text.contains("busy"), "{text}");
    assert!(text.ends_with("data: [DONE]\n\n"));
    let trace = stages.gateway.records().traces.remove(0);
    assert!(trace.stream);
    assert_eq!(trace.outcome(), v1::Outcome::Completed);
}

#[test]
fn a_stream_that_breaks_off_is_not_tried_again() {
    let mut stages = Stages::start(snapshot());
    let mut body = chat("chain");
    body["stream"] = json!(true);
    let (requests, got) = stages.call(&body, vec![Upstream::answer(200, &EVENTS, chunk("Hi"))]);
    assert_eq!(requests.len(), 1);
    let text = got.text();
    assert!(text.contains("Hi") && text.contains("\"error\""), "{text}");
    let trace = stages.gateway.records().traces.remove(0);
    assert_eq!(trace.outcome(), v1::Outcome::UpstreamBrokeOff);
}

#[test]
fn one_error_lists_all_attempts_if_none_succeeds() {
    let mut stages = Stages::start(snapshot());
    let (_, got) = stages.call(
        &chat("chain"),
        vec![Upstream::failure(503, REFUSED), answer(429)],
    );
    assert_eq!(got.status(), 429);
    let body = got.json();
    assert_eq!(body["error"]["message"], "no");
    assert_eq!(body["error"]["type"], "rate_limit_error");
    let attempts = &body["error"]["attempts"];
    assert_eq!(attempts[0]["provider"], "openai");
    assert_eq!(attempts[0]["error"], "connection_failed");
    assert_eq!(attempts[0]["status"], Value::Null);
    assert_eq!(attempts[1]["model"], "large");
    assert_eq!(
        (&attempts[1]["error"], &attempts[1]["status"]),
        (&json!("rate_limit"), &json!(429))
    );
    let trace = stages.gateway.records().traces.remove(0);
    assert_eq!((trace.status, trace.provider.as_str()), (429, "second"));
    assert_eq!(trace.error.unwrap().message, "no");
    assert_eq!(trace.cost, None);
}

#[test]
fn an_error_has_the_shape_of_the_clients_api() {
    let mut stages = Stages::start(snapshot());
    let body = json!({"model": "chain", "max_tokens": 10,
        "messages": [{"role": "user", "content": "Hello"}]});
    let mut call = stages.gateway.post("/v1/messages", &body);
    stages
        .listener
        .relay(&mut call, vec![answer(500), answer(429)]);
    let got = call.client().json();
    assert_eq!(got["type"], "error");
    assert_eq!(got["error"]["type"], "rate_limit_error");
    let mut call = stages.gateway.post("/v1/messages", &body);
    stages.listener.relay(&mut call, vec![answer(500), hi()]);
    let got = call.client().json();
    assert_eq!(
        (&got["type"], &got["content"][0]["text"]),
        (&json!("message"), &json!("Hi"))
    );
}

#[test]
fn a_request_that_is_wrong_is_not_sent_twice() {
    let mut stages = Stages::start(snapshot());
    for status in [400, 401, 404] {
        let (requests, got) = stages.call(&chat("chain"), vec![answer(status)]);
        assert_eq!((requests.len(), got.status()), (1, status));
        assert_eq!(got.header("x-opentracy-attempts"), "1");
    }
}

#[test]
fn a_field_that_one_provider_does_not_support_fails_over() {
    let mut all = snapshot();
    all.aliases
        .push(alias("mixed", &["anthropic/claude", "openai/small"]));
    let mut stages = Stages::start(all);
    let mut body = chat("mixed");
    body["logprobs"] = json!(true);
    let (requests, got) = stages.call(&body, vec![Upstream::refusal(), hi()]);
    assert_eq!(clusters(&requests), ["provider_openai"]);
    assert_eq!(got.header("x-opentracy-attempts"), "2");
}

#[test]
fn an_attempt_whose_vm_trapped_is_missing_in_the_log_and_recorded_here() {
    let mut stages = Stages::start(snapshot());
    let (_, got) = stages.call(&chat("chain"), vec![Upstream::trap(), hi()]);
    assert_eq!((got.status(), content(&got)), (200, json!("Hi")));
    assert_eq!(got.header("x-opentracy-attempts"), "2");
    let records = stages.gateway.records();
    assert_eq!(records.traces[0].provider, "second");
    assert_eq!(results(&records), [(1, 0, "translator_failed")]);
    assert_eq!(records.attempts[0].provider, "openai");
    assert_eq!(results(&stages.listener.records()), [(2, 200, "")]);
}

#[test]
fn a_call_whose_attempts_all_trapped_is_an_error_with_all_of_them() {
    let mut stages = Stages::start(snapshot());
    let (_, got) = stages.call(&chat("chain"), vec![Upstream::trap(), Upstream::trap()]);
    assert!(got.status() >= 500, "{}", got.status());
    let attempts = got.json()["error"]["attempts"].clone();
    assert_eq!(attempts.as_array().unwrap().len(), 2);
    let trace = stages.gateway.records().traces.remove(0);
    assert_eq!(trace.status, u32::from(got.status()));
}

#[test]
fn a_candidate_is_tried_again_as_often_as_its_alias_says() {
    let mut all = snapshot();
    all.aliases.push(v1::Alias {
        retries: 1,
        ..alias("patient", &["openai/small", "second/large"])
    });
    let mut stages = Stages::start(all);
    let attempts = vec![answer(500), answer(500), answer(500), hi()];
    let (requests, got) = stages.call(&chat("patient"), attempts);
    let (first, second) = ("provider_openai", "provider_second");
    assert_eq!(clusters(&requests), [first, first, second, second]);
    assert_eq!(got.header("x-opentracy-attempts"), "4");
}

#[test]
fn a_refused_key_is_followed_by_the_providers_others() {
    let mut stages = Stages::start(all_formats());
    let attempts = vec![answer(401), answer(429), hi()];
    let (requests, got) = stages.call(&chat("several/m"), attempts);
    let keys: Vec<&str> = requests
        .iter()
        .map(|request| request.header("authorization"))
        .collect();
    let expected = [
        "Bearer key-of-several",
        "Bearer second-key",
        "Bearer third-key",
    ];
    assert_eq!(keys, expected);
    assert_eq!(got.status(), 200);
}

#[test]
fn credentials_of_providers_are_masked_in_their_errors() {
    let mut stages = Stages::start(snapshot());
    let quoted = error("the key key-of-second is wrong");
    let (_, got) = stages.call(
        &chat("chain"),
        vec![answer(500), Upstream::answer(401, &JSON, quoted)],
    );
    let text = got.text();
    assert!(
        text.contains("is wrong") && !text.contains("key-of-second"),
        "{text}"
    );
}

#[test]
fn only_the_last_attempt_may_be_repeated_on_a_new_connection() {
    let mut stages = Stages::start(snapshot());
    let (sent, _) = stages.call(&chat("chain"), vec![answer(500), answer(500)]);
    // A reset at the first candidate is a reason to try the next one.
    assert_eq!(sent[0].header("x-envoy-retry-on"), "");
    assert_eq!(sent[1].header("x-envoy-retry-on"), "reset");
}

#[test]
fn a_plan_that_envoy_gave_up_on_blames_its_last_candidate() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = vm.post("/v1/chat/completions", &chat("chain"));
    exchange.fail(503, "no_healthy_upstream", &[]);
    let got = exchange.client().json();
    assert_eq!(got["error"]["code"], "upstream_unavailable");
    assert_eq!(got["error"]["attempts"][0]["error"], "failed");
    assert_eq!(got["error"]["attempts"][1]["error"], "no_healthy_host");
    exchange.end();
    assert_eq!(vm.records().traces[0].provider, "second");
}
