//! Calls that the provider does not answer: Envoy's own replies, deadlines, clients that leave, and
//! a VM without memory.

use std::time::Duration;

use opentracy_proto::v1;
use serde_json::json;

use crate::fake_envoy::{Exchange, Vm};
use crate::root::TICK;
use crate::tests::world::{CHAT, JSON, SSE, chat, completion, end, error, failure, get, snapshot};

/// Sends a request for one model.
fn ask(vm: &mut Vm) -> Exchange {
    let mut exchange = vm.post(CHAT, &chat("openai/small"));
    assert!(exchange.upstream().is_complete);
    exchange
}

#[test]
fn envoys_own_replies_become_errors_with_their_reason() {
    let mut vm = Vm::gateway_with(snapshot());
    for (details, status, code, reason) in [
        (
            "no_healthy_upstream",
            502,
            "upstream_unavailable",
            "no_healthy_host",
        ),
        (
            "cluster_not_found",
            502,
            "upstream_unavailable",
            "no_cluster",
        ),
        (
            "upstream_reset_before_response_started{connection_termination}",
            502,
            "upstream_unavailable",
            "connection_reset",
        ),
        (
            "upstream_reset_before_response_started{remote_connection_failure}",
            502,
            "upstream_unavailable",
            "connection_failed",
        ),
        (
            "upstream_reset_before_response_started{overflow}",
            503,
            "upstream_unavailable",
            "overloaded",
        ),
        (
            "upstream_per_try_timeout",
            504,
            "upstream_timeout",
            "timeout",
        ),
    ] {
        // Each at its own model, so that the circuit breaker stays closed.
        let model = format!("openai/{status}-{reason}");
        let mut exchange = vm.post(CHAT, &chat(&model));
        exchange.fail(503, details, &[("content-type", "text/plain")]);
        let got = exchange.client().clone();
        assert_eq!(error(&got), (status, code.to_owned()), "{details}");
        assert_eq!(got.header("content-type"), "application/json");
        assert!(!got.text().contains("upstream connect error"), "{details}");
        let attempt = &got.json()["error"]["attempts"][0];
        assert_eq!(
            (attempt["error"].clone(), attempt["status"].clone()),
            (json!(reason), json!(null))
        );
        let (trace, attempt) = end(&mut vm, exchange);
        assert_eq!((trace.status, attempt.status), (u32::from(status), 0));
        assert_eq!(attempt.error, reason);
    }
}

#[test]
fn an_error_of_the_provider_is_not_taken_for_envoys() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = ask(&mut vm);
    exchange.respond(503, &JSON, &failure("the model is loading"));
    let got = exchange.client();
    assert_eq!(got.status(), 503);
    assert!(got.text().contains("the model is loading"));
}

#[test]
fn envoys_reply_to_a_request_that_was_not_sent_has_openais_shape() {
    let mut vm = Vm::gateway_with(snapshot());
    let headers = [
        (":method", "POST"),
        (":authority", "localhost"),
        (":path", CHAT),
    ];
    let mut exchange = vm.open(&headers, false);
    exchange.send(b"{", false);
    exchange.fail(413, "request_payload_too_large", &[]);
    assert_eq!(
        error(exchange.client()),
        (413, "request_too_large".to_owned())
    );
    let mut exchange = get(&mut vm, "/shop", &[]);
    exchange.fail(404, "route_not_found", &[]);
    let got = exchange.client();
    assert_eq!(error(got), (404, "unknown_url".to_owned()));
    assert!(got.text().contains("/shop"));
}

#[test]
fn a_provider_that_stays_silent_is_a_504_by_its_deadline() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = ask(&mut vm);
    vm.tick(Duration::from_millis(4900));
    assert!(exchange.client().headers.is_empty());
    vm.tick(Duration::from_millis(100));
    let got = exchange.client().clone();
    assert_eq!(error(&got), (504, "upstream_timeout".to_owned()));
    assert_eq!(got.header("x-opentracy-selected-model"), "openai/small");
    let (trace, attempt) = end(&mut vm, exchange);
    assert_eq!(
        (trace.status, trace.outcome()),
        (504, v1::Outcome::Completed)
    );
    assert_eq!(attempt.error, "timeout");
}

#[test]
fn headers_alone_do_not_extend_the_deadline() {
    let mut vm = Vm::gateway_with(snapshot());
    for headers in [&JSON, &SSE] {
        let mut exchange = vm.post(CHAT, &chat("openai/small"));
        vm.tick(Duration::from_millis(4000));
        exchange.begin_response(200, headers, false);
        vm.tick(Duration::from_millis(900));
        assert!(exchange.client().headers.is_empty());
        vm.tick(Duration::from_millis(100));
        assert_eq!(exchange.client().status(), 504);
        let (_, attempt) = end(&mut vm, exchange);
        assert_eq!(attempt.error, "timeout");
    }
}

#[test]
fn a_client_that_leaves_early_is_a_trace_without_an_answer() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = ask(&mut vm);
    vm.tick(Duration::from_millis(200));
    exchange.cut("downstream_remote_disconnect");
    exchange.end();
    let trace = vm.records().traces.remove(0);
    assert_eq!(trace.outcome(), v1::Outcome::ClientDisconnected);
    assert_eq!(
        (trace.status, trace.requested_model.as_str()),
        (0, "openai/small")
    );
    assert!(trace.error.is_none() && trace.response.is_empty());
    let mut exchange = ask(&mut vm);
    exchange.begin_response(200, &JSON, false);
    exchange.respond_more(b"{", false);
    exchange.cut("downstream_remote_disconnect");
    let (trace, attempt) = end(&mut vm, exchange);
    assert_eq!(trace.outcome(), v1::Outcome::ClientDisconnected);
    assert_eq!(attempt.status, 200);
}

#[test]
fn a_client_that_leaves_does_not_count_against_the_model() {
    let mut vm = Vm::gateway_with(snapshot());
    for _ in 0..30 {
        let mut exchange = ask(&mut vm);
        exchange.cut("downstream_remote_disconnect");
        exchange.end();
    }
    assert!(vm.post(CHAT, &chat("openai/small")).upstream().is_complete);
}

#[test]
fn a_request_that_does_not_fit_in_memory_is_refused_before_it_is_read() {
    let mut vm = Vm::gateway_with(snapshot());
    vm.envoy.set_memory(640 << 20);
    let headers = [
        (":method", "POST"),
        (":authority", "localhost"),
        (":path", CHAT),
        ("content-length", "1000"),
    ];
    let mut exchange = vm.open(&headers, false);
    let got = exchange.client();
    assert_eq!(error(got), (503, "gateway_overloaded".to_owned()));
    assert_eq!(got.header("retry-after"), "1");
    let metric = "opentracy.gateway.event.gateway_overloaded.events";
    vm.tick(TICK);
    assert_eq!(vm.envoy.metric(metric), 1);
    // Without a length, the body is counted as it arrives.
    vm.envoy.set_memory((640 << 20) - 30);
    let headers = [headers[0], headers[1], headers[2]];
    let mut exchange = vm.open(&headers, false);
    exchange.send(b"12345", false);
    assert!(exchange.client().headers.is_empty());
    exchange.send(b"1234567", false);
    assert_eq!(
        error(exchange.client()),
        (503, "gateway_overloaded".to_owned())
    );
    vm.envoy.set_memory(0);
    assert!(vm.post(CHAT, &chat("small")).upstream().is_complete);
}

#[test]
fn an_answer_that_does_not_fit_in_memory_is_not_the_models_fault() {
    let mut vm = Vm::gateway_with(snapshot());
    for _ in 0..6 {
        let mut exchange = ask(&mut vm);
        vm.envoy.set_memory(640 << 20);
        exchange.respond(200, &JSON, &completion("Hi"));
        vm.envoy.set_memory(0);
        assert_eq!(
            error(exchange.client()),
            (503, "gateway_overloaded".to_owned())
        );
        let (trace, attempt) = end(&mut vm, exchange);
        assert_eq!(
            (trace.status, attempt.error.as_str()),
            (503, "refused_by_gateway")
        );
    }
}
