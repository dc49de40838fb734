//! Calls of several attempts on a host that can restart requests: no answer differs from that of a
//! host that needs the provider stage.

use std::thread;
use std::time::Duration;

use opentracy_proto::v1;
use serde_json::{Value, json};

use crate::fake_envoy::{Exchange, SentMessage, Upstream, Vm, play_passes};
use crate::tests::stages::{DONE, EVENTS, Stages, all_formats, chunk, clusters, error, event};
use crate::tests::world::{JSON, alias, chat, chat_with, completion, model, snapshot};

const RESET: &str = "upstream_reset_before_response_started{connection_termination}";

/// All that comes of a call.
struct Outcome {
    requests: Vec<SentMessage>,
    answer: SentMessage,
    trace: v1::Trace,
    attempts: Vec<v1::Attempt>,
}

/// Starts a gateway stage that can restart requests.
fn gateway(snapshot: v1::Snapshot) -> Vm {
    let vm = Vm::gateway_with(snapshot);
    // As long as the start of a second stage takes.
    vm.envoy.advance(Duration::from_secs(1));
    vm.envoy.allow_restarts();
    vm
}

fn end(vm: &mut Vm, mut call: Exchange, requests: Vec<SentMessage>) -> Outcome {
    let answer = call.client().clone();
    call.end();
    let mut records = vm.records();
    Outcome {
        requests,
        answer,
        trace: records.traces.remove(0),
        attempts: records.attempts,
    }
}

fn in_one_stage(all: v1::Snapshot, body: &Value, upstreams: Vec<Upstream>) -> Outcome {
    let mut vm = gateway(all);
    let mut call = vm.post("/v1/chat/completions", body);
    let requests = play_passes(&mut vm, &mut call, upstreams);
    end(&mut vm, call, requests)
}

fn in_two_stages(all: v1::Snapshot, body: &Value, upstreams: Vec<Upstream>) -> Outcome {
    let mut stages = Stages::start(all);
    let mut call = stages.gateway.post("/v1/chat/completions", body);
    let requests = stages.listener.relay(&mut call, upstreams);
    let mut outcome = end(&mut stages.gateway, call, requests);
    outcome.attempts = stages.listener.records().attempts;
    outcome
}

/// Describes a call, without its ids and the headers for Envoy.
fn describe(outcome: &Outcome) -> String {
    let requests = outcome.requests.iter().map(|request| {
        let mut headers = request.pairs();
        headers.retain(|(name, _)| !name.starts_with("x-envoy-"));
        format!("{headers:?} {}\n", request.text())
    });
    let mut text: String = requests.collect();
    let (answer, trace) = (&outcome.answer, &outcome.trace);
    let mut headers = answer.pairs();
    // Envoy adds it to a reply of its own.
    headers.retain(|(name, _)| *name != "content-length");
    text += &format!("{headers:?} {}\n", answer.text());
    let mut trace = trace.clone();
    if trace.status >= 400 {
        // A stage that answers by itself waits for no byte.
        trace.time_to_first_token_micros = None;
    }
    text += &format!("{trace:#?}\n{:#?}", outcome.attempts);
    text.replace(&trace.id, "ID")
}

/// A way to play a call's providers. It is played twice.
type Script = fn() -> Vec<Upstream>;

fn hi() -> Upstream {
    Upstream::answer(200, &JSON, completion("Hi"))
}

fn status(status: u16) -> Upstream {
    Upstream::answer(status, &JSON, error("no"))
}

fn stream(events: &[Vec<u8>]) -> Upstream {
    Upstream::answer(200, &EVENTS, events.concat())
}

fn a_stream() -> Upstream {
    stream(&[chunk("Hi"), DONE.to_vec()])
}

fn configuration() -> v1::Snapshot {
    let mut all = all_formats();
    all.models.push(model("several", "m"));
    all.aliases.extend([
        alias("mixed", &["anthropic/claude", "openai/small"]),
        alias(
            "long",
            &[
                "openai/small",
                "anthropic/claude",
                "gemini/g",
                "second/large",
            ],
        ),
        v1::Alias {
            per_try_timeout_ms: Some(700),
            ..alias("hasty", &["openai/small", "second/large"])
        },
        v1::Alias {
            retries: 1,
            ..alias("patient", &["openai/small", "second/large"])
        },
    ]);
    all
}

fn streamed(model: &str) -> Value {
    let mut body = chat(model);
    body["stream"] = json!(true);
    body
}

fn with_logprobs(model: &str) -> Value {
    let mut body = chat(model);
    body["logprobs"] = json!(true);
    body
}

#[test]
fn one_stage_does_what_two_do() {
    let cases: [(&str, Value, Script); 23] = [
        ("first answers", chat("chain"), || vec![hi()]),
        ("limited", chat("chain"), || {
            vec![status(429).after(Duration::from_millis(200)), hi()]
        }),
        ("unavailable", chat("chain"), || vec![status(503), hi()]),
        ("overloaded", chat("mixed"), || vec![status(529), hi()]),
        ("reset", chat("chain"), || {
            vec![Upstream::failure(503, RESET), hi()]
        }),
        ("no host", chat("chain"), || {
            vec![Upstream::failure(503, "no_healthy_upstream"), hi()]
        }),
        ("silence", chat("chain"), || vec![Upstream::silence(), hi()]),
        ("hasty", chat("hasty"), || vec![Upstream::silence(), hi()]),
        ("without a body", chat("chain"), || {
            vec![Upstream::answer(500, &[], ""), hi()]
        }),
        ("all without a body", chat("chain"), || {
            vec![Upstream::answer(500, &[], ""), status(500)]
        }),
        ("an error in a success", chat("chain"), || {
            vec![Upstream::answer(200, &JSON, error("no")), hi()]
        }),
        ("what can't be read", chat("mixed"), || {
            vec![Upstream::answer(200, &JSON, "<html>"), hi()]
        }),
        ("invalid", chat("chain"), || vec![status(400)]),
        ("all fail", chat("chain"), || vec![status(500), status(503)]),
        ("silent to the end", chat("chain"), || {
            vec![status(500), Upstream::silence()]
        }),
        ("four", chat("long"), || {
            vec![
                status(500),
                Upstream::failure(503, RESET),
                Upstream::silence(),
                hi(),
            ]
        }),
        ("tried again", chat("patient"), || {
            vec![status(500), status(500), status(500), hi()]
        }),
        ("keys", chat("several/m"), || {
            vec![status(401), status(429), hi()]
        }),
        ("keys of a bare model", chat("m"), || {
            vec![status(401), hi()]
        }),
        ("not supported", with_logprobs("mixed"), || {
            vec![Upstream::refusal(), hi()]
        }),
        ("a stream", streamed("chain"), || vec![a_stream()]),
        ("a stream's error", streamed("chain"), || {
            let event = event(&json!({"error": {"message": "overloaded", "code": 503}}));
            vec![stream(&[event]), a_stream()]
        }),
        ("a stream after a failure", streamed("mixed"), || {
            vec![status(500), a_stream()]
        }),
    ];
    for (name, body, script) in cases {
        let both = [in_one_stage, in_two_stages].map(|play| {
            let body = body.clone();
            // The state of a VM is its thread's.
            let run = move || describe(&play(configuration(), &body, script()));
            thread::spawn(run).join().expect(name)
        });
        let [one, two] = both.each_ref().map(|text| text.lines());
        let difference = one.zip(two).find(|(one, two)| one != two);
        assert_eq!(difference, None, "{name}:\n{}", both[0]);
        assert_eq!(both[0].len(), both[1].len(), "{name}");
    }
}

#[test]
fn a_body_that_envoy_has_kept_is_replaced() {
    let mut vm = gateway(configuration());
    let mut call = vm.post("/v1/chat/completions", &chat("mixed"));
    call.keep_body(b"what the first candidate did not take");
    call.fail(503, "no_healthy_upstream", &[]);
    assert_eq!(call.upstream().json()["model"], "small");
    assert_eq!(call.earlier().len(), 1);
}

#[test]
fn a_client_that_leaves_between_attempts_is_recorded() {
    let mut vm = gateway(snapshot());
    let mut call = vm.post("/v1/chat/completions", &chat("chain"));
    call.respond(503, &JSON, &error("no"));
    assert_eq!(clusters(&[call.upstream().clone()]), ["provider_second"]);
    call.cut("downstream_remote_disconnect");
    let outcome = end(&mut vm, call, Vec::new());
    assert_eq!(outcome.trace.outcome(), v1::Outcome::ClientDisconnected);
    let errors = outcome.attempts.iter().map(|attempt| &attempt.error);
    assert_eq!(errors.collect::<Vec<_>>(), ["overloaded", "abandoned"]);
}

#[test]
fn a_request_that_no_candidate_supports_names_all_of_them() {
    let mut vm = gateway(configuration());
    let mut all = configuration();
    all.aliases
        .push(alias("claudes", &["anthropic/one", "anthropic/two"]));
    vm.configure(all);
    let call = vm.post("/v1/chat/completions", &with_logprobs("claudes"));
    let outcome = end(&mut vm, call, Vec::new());
    assert_eq!(outcome.answer.status(), 400);
    let attempts = outcome.answer.json()["error"]["attempts"].clone();
    assert_eq!(attempts.as_array().map(Vec::len), Some(2));
    assert_eq!(outcome.attempts.len(), 2);
}

#[test]
fn the_headers_of_an_attempt_are_not_those_of_the_one_before() {
    let mut vm = gateway(configuration());
    let headers = [("x-test", "of the client"), ("authorization", "Bearer own")];
    let mut call = chat_with(&mut vm, &headers, &chat("mixed"));
    call.respond(503, &JSON, &error("no"));
    let second = call.upstream().clone();
    assert_eq!(second.header("authorization"), "Bearer key-of-openai");
    assert_eq!(second.header("x-test"), "");
    assert_eq!(second.header("x-api-key"), "");
}

#[test]
fn a_hedged_plan_needs_envoys_retries() {
    let mut all = snapshot();
    all.aliases.push(v1::Alias {
        hedge_after_ms: Some(100),
        ..alias("hedged", &["openai/small", "second/large"])
    });
    let mut vm = gateway(all);
    let mut call = vm.post("/v1/chat/completions", &chat("hedged"));
    assert!(!call.upstream().header("x-opentracy-plan").is_empty());
}
