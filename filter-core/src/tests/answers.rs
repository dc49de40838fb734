//! Whole answers and errors of providers, and the records of them.

use std::time::Duration;

use opentracy_proto::v1;
use serde_json::json;

use crate::fake_envoy::{Exchange, Vm};
use crate::root::TICK;
use crate::tests::world::{CHAT, JSON, chat, completion, end, error, failure, post_with, snapshot};

/// Sends a request for one model.
fn ask(vm: &mut Vm) -> Exchange {
    let mut exchange = vm.post(CHAT, &chat("openai/small"));
    assert!(exchange.upstream().is_complete);
    exchange
}

#[test]
fn an_answer_is_held_until_it_is_complete_and_gets_the_gateways_members() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = ask(&mut vm);
    let body = completion("Hi");
    let (head, tail) = body.split_at(40);
    exchange.begin_response(200, &JSON, false);
    exchange.respond_more(head, false);
    assert!(exchange.client().headers.is_empty(), "it is held");
    vm.tick(Duration::from_millis(300));
    exchange.respond_more(tail, true);
    let got = exchange.client().clone();
    assert!(got.is_complete);
    let answer = got.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "Hi");
    // 15 tokens at a dollar for a million.
    assert_eq!(answer["_cost"], 15e-6);
    assert_eq!(answer["_latency_ms"], 300.0);
    assert_eq!(got.header("content-length"), got.body.len().to_string());
    assert_eq!(
        got.header("x-opentracy-trace-id"),
        answer["_routing"]["trace_id"]
    );
    let (trace, attempt) = end(&mut vm, exchange);
    assert_eq!(trace.outcome(), v1::Outcome::Completed);
    assert_eq!(trace.latency_micros, 300_000);
    assert_eq!(trace.time_to_first_token_micros, Some(0));
    assert_eq!(
        trace.response, got.body,
        "the trace has what the client got"
    );
    assert!((trace.cost.unwrap().total - 15e-6).abs() < 1e-12);
    assert_eq!(
        (attempt.number, attempt.status, attempt.error.as_str()),
        (1, 200, "")
    );
}

#[test]
fn an_answer_that_ends_with_trailers_is_released_without_them() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = ask(&mut vm);
    exchange.begin_response(200, &JSON, false);
    exchange.respond_more(&completion("Hi"), false);
    exchange.respond_trailers(&[("x-opentracy-trace-id", "forged"), ("set-cookie", "a=b")]);
    let got = exchange.client();
    assert!(got.is_complete && got.trailers.is_empty());
    assert_eq!(got.json()["choices"][0]["message"]["content"], "Hi");
}

#[test]
fn a_request_that_ends_with_trailers_is_sent_without_them() {
    let mut vm = Vm::gateway_with(snapshot());
    let headers = [
        (":method", "POST"),
        (":authority", "localhost"),
        (":path", CHAT),
    ];
    let mut exchange = vm.open(&headers, false);
    exchange.send(chat("openai/small").to_string().as_bytes(), false);
    assert!(exchange.upstream().headers.is_empty());
    exchange.send_trailers(&[("x-secret", "1")]);
    let sent = exchange.upstream();
    assert!(sent.is_complete && sent.trailers.is_empty());
    assert_eq!(sent.json()["model"], "small");
}

#[test]
fn a_provider_sets_no_cookie_and_no_header_of_ours() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = ask(&mut vm);
    let headers = [
        ("content-type", "application/json"),
        ("set-cookie", "a=b"),
        ("server", "theirs"),
        ("x-opentracy-selected-model", "forged"),
        ("x-opentracy-attempt-log", "[]"),
        ("x-request-id", "of-the-provider"),
        ("x-echo", "key-of-openai"),
    ];
    exchange.respond(200, &headers, &completion("Hi"));
    let got = exchange.client();
    assert_eq!(got.header("x-request-id"), "of-the-provider");
    assert_eq!(got.header("x-opentracy-selected-model"), "openai/small");
    for name in ["set-cookie", "server", "x-opentracy-attempt-log"] {
        assert_eq!(got.header(name), "", "{name}");
    }
    assert!(!got.header("x-echo").contains("key-of-openai"));
}

#[test]
fn a_body_that_cannot_be_read_is_an_error_of_the_provider() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = vm.post(CHAT, &chat("anthropic/claude"));
    exchange.respond(200, &JSON, b"<html>");
    let got = exchange.client().clone();
    assert_eq!(error(&got), (502, "invalid_upstream_response".to_owned()));
    let (trace, attempt) = end(&mut vm, exchange);
    assert_eq!(trace.error.unwrap().code, "invalid_upstream_response");
    assert_eq!(attempt.provider, "anthropic");
}

#[test]
fn an_answer_without_a_body_reaches_the_client_as_an_error_with_one() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = ask(&mut vm);
    exchange.respond(500, &[("content-length", "0")], b"");
    let got = exchange.client().clone();
    assert_eq!((got.status(), got.is_complete), (500, true));
    assert!(
        got.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("openai")
    );
    let (trace, attempt) = end(&mut vm, exchange);
    assert_eq!((trace.status, attempt.status), (500, 500));
    assert_eq!(attempt.error, "server_error");
}

#[test]
fn an_error_keeps_its_message_and_loses_the_key_in_it() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = ask(&mut vm);
    exchange.respond(
        401,
        &JSON,
        &failure("key-of-openai and sk-1234567890abcdefghij are wrong"),
    );
    let got = exchange.client().clone();
    assert_eq!(got.status(), 401);
    let text = got.text();
    assert!(text.contains("are wrong"), "{text}");
    assert!(
        !text.contains("key-of-openai") && !text.contains("1234567890"),
        "{text}"
    );
    assert_eq!(got.json()["error"]["type"], "authentication_error");
    let (trace, attempt) = end(&mut vm, exchange);
    assert!(!trace.error.unwrap().message.contains("key-of-openai"));
    assert!(!String::from_utf8_lossy(&trace.response).contains("key-of-openai"));
    assert_eq!(attempt.error, "authentication");
}

#[test]
fn anthropics_overload_is_a_503_for_the_client_and_stays_itself_in_the_record() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = vm.post(CHAT, &chat("anthropic/claude"));
    let body = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}});
    exchange.respond(529, &JSON, body.to_string().as_bytes());
    let got = exchange.client().clone();
    assert_eq!(
        (got.status(), got.json()["error"]["type"].clone()),
        (503, json!("overloaded_error"))
    );
    let (trace, attempt) = end(&mut vm, exchange);
    assert_eq!((trace.status, attempt.status), (503, 529));
}

#[test]
fn records_wait_for_the_control_plane_and_are_sent_again() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = ask(&mut vm);
    exchange.respond(200, &JSON, &completion("Hi"));
    exchange.end();
    vm.tick(Duration::from_millis(100));
    let batch: v1::IngestRequest = vm.asked("Ingest");
    assert_eq!(batch.traces.len(), 1);
    vm.fail("Ingest", 14);
    vm.tick(Duration::from_millis(900));
    assert!(vm.pending("Ingest").is_empty(), "a second of pause");
    vm.tick(Duration::from_millis(100));
    assert_eq!(vm.asked::<v1::IngestRequest>("Ingest").traces, batch.traces);
    vm.answer("Ingest", &v1::IngestResponse::default());
    assert!(vm.records().traces.is_empty());
}

#[test]
fn metrics_count_the_answers_of_each_provider() {
    let mut vm = Vm::gateway_with(snapshot());
    for status in [200, 200, 429] {
        let mut exchange = ask(&mut vm);
        vm.tick(Duration::from_millis(50));
        let body = if status == 200 {
            completion("Hi")
        } else {
            failure("no")
        };
        exchange.respond(status, &JSON, &body);
        exchange.end();
    }
    vm.tick(TICK);
    let of_openai = |what: &str| {
        let name = format!("opentracy.gateway.provider.openai.{what}");
        vm.envoy.metric(&name)
    };
    assert_eq!(of_openai("status.2xx.requests"), 2);
    assert_eq!(of_openai("status.4xx.requests"), 1);
    assert_eq!(of_openai("latency_ms"), 150);
    assert_eq!(
        (of_openai("tokens_input"), of_openai("tokens_output")),
        (20, 10)
    );
}

#[test]
fn an_access_log_has_the_clients_path_and_agent() {
    let mut vm = Vm::gateway_with(v1::Snapshot {
        access_log: true,
        ..snapshot()
    });
    let headers = [("user-agent", "an-sdk/1")];
    let path = "/v1/chat/completions?x=1";
    let mut exchange = post_with(&mut vm, path, &headers, &chat("openai/small"));
    assert_ne!(exchange.upstream().header("user-agent"), "an-sdk/1");
    let log = exchange.access_log();
    assert_eq!(log["opentracy_path"], CHAT);
    assert_eq!(log["opentracy_user_agent"], "an-sdk/1");
}
