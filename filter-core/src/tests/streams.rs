//! Streams of events, from their beginning to their end.

use std::time::Duration;

use opentracy_proto::v1;
use serde_json::{Value, json};

use crate::fake_envoy::{Exchange, Vm};
use crate::tests::world::{
    CHAT, JSON, SSE, chat, end, error, event, failure, last_parts, part, snapshot,
};

const CUT: &str = "upstream_reset_after_response_started{connection_termination}";

/// Sends a request for a stream, whose response has begun.
fn stream(vm: &mut Vm, model: &str) -> Exchange {
    let mut body = chat(model);
    body["stream"] = json!(true);
    let mut exchange = vm.post(CHAT, &body);
    assert!(exchange.upstream().is_complete);
    exchange.begin_response(200, &SSE, false);
    exchange
}

#[test]
fn events_reach_the_client_one_by_one_and_the_last_carries_the_gateways_members() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = stream(&mut vm, "openai/small");
    assert!(exchange.client().headers.is_empty(), "it has not begun");
    vm.tick(Duration::from_millis(200));
    exchange.respond_more(&part("He"), false);
    let got = exchange.client().clone();
    assert_eq!((got.status(), got.body), (200, part("He")));
    assert_eq!(got.headers["content-type"], "text/event-stream");
    vm.tick(Duration::from_millis(100));
    exchange.respond_more(&part("llo"), false);
    exchange.respond_more(&last_parts(), true);
    let got = exchange.client().clone();
    let text = got.text();
    assert!(
        got.is_complete && text.ends_with("data: [DONE]\n\n"),
        "{text}"
    );
    let last = text.trim_end().rsplit("\n\n").nth(1).unwrap();
    let last: Value = serde_json::from_str(&last["data: ".len()..]).unwrap();
    assert_eq!(last["_routing"]["selected_model"], "openai/small");
    assert_eq!(last["_cost"], 15e-6);
    let (trace, _) = end(&mut vm, exchange);
    assert!(trace.stream);
    assert_eq!(trace.outcome(), v1::Outcome::Completed);
    assert_eq!(trace.time_to_first_token_micros, Some(200_000));
    assert_eq!(trace.latency_micros, 300_000);
    assert_eq!(trace.usage.unwrap().output, 5);
    assert_eq!(trace.response, got.body);
}

#[test]
fn a_stream_in_another_format_is_translated_as_it_arrives() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = stream(&mut vm, "anthropic/claude");
    let event = |data: Value| {
        let kind = data["type"].as_str().unwrap();
        format!("event: {kind}\ndata: {data}\n\n").into_bytes()
    };
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
        "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": 12, "output_tokens": 1}});
    let start = json!({"type": "message_start", "message": message});
    exchange.respond_more(&event(start), false);
    let block = json!({"type": "text", "text": ""});
    let begin = json!({"type": "content_block_start", "index": 0, "content_block": block});
    exchange.respond_more(&event(begin), false);
    let delta = json!({"type": "text_delta", "text": "Salut"});
    let delta = event(json!({"type": "content_block_delta", "index": 0, "delta": delta}));
    // The network may cut a stream in the middle of an event.
    let (head, tail) = delta.split_at(60);
    exchange.respond_more(head, false);
    assert!(!exchange.client().text().contains("Salut"));
    exchange.respond_more(tail, false);
    assert!(exchange.client().text().contains("\"content\":\"Salut\""));
    let stop = json!({"stop_reason": "end_turn", "stop_sequence": null});
    let usage = json!({"output_tokens": 10});
    let delta = json!({"type": "message_delta", "delta": stop, "usage": usage});
    exchange.respond_more(&event(delta), false);
    exchange.respond_more(&event(json!({"type": "message_stop"})), true);
    let text = exchange.client().text();
    assert!(
        text.ends_with("data: [DONE]\n\n") && !text.contains("message_stop"),
        "{text}"
    );
    assert!(text.contains("\"_routing\""));
    let (trace, _) = end(&mut vm, exchange);
    let usage = trace.usage.unwrap();
    assert_eq!((usage.input, usage.output), (12, 10));
}

#[test]
fn an_error_as_the_first_event_is_an_answer_with_a_status() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = stream(&mut vm, "anthropic/claude");
    let reason = json!({"type": "overloaded_error", "message": "Overloaded"});
    let mut first = b"event: error\n".to_vec();
    first.extend(event(&json!({"type": "error", "error": reason})));
    exchange.respond_more(&first, false);
    let got = exchange.client().clone();
    assert_eq!(error(&got), (503, "overloaded_error".to_owned()));
    assert_eq!(got.header("content-type"), "application/json");
    let (trace, attempt) = end(&mut vm, exchange);
    assert_eq!(
        (trace.status, trace.outcome()),
        (503, v1::Outcome::Completed)
    );
    assert_eq!(attempt.error, "overloaded");
}

#[test]
fn a_stream_that_ends_before_it_begins_is_an_error_with_a_status() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = stream(&mut vm, "openai/small");
    exchange.respond_more(b": a comment\n\n", true);
    let got = exchange.client().clone();
    assert_eq!(error(&got), (502, "incomplete_stream".to_owned()));
}

#[test]
fn an_error_instead_of_a_stream_is_an_error() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut body = chat("openai/small");
    body["stream"] = json!(true);
    let mut exchange = vm.post(CHAT, &body);
    exchange.respond(429, &JSON, &failure("slow down"));
    let got = exchange.client();
    assert_eq!(got.status(), 429);
    assert!(got.text().contains("slow down"));
}

#[test]
fn a_stream_that_ends_early_ends_with_an_error_event() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = stream(&mut vm, "openai/small");
    exchange.respond_more(&part("He"), false);
    exchange.respond_more(b"", true);
    let got = exchange.client().clone();
    assert_eq!(got.status(), 200, "the client has it already");
    let text = got.text();
    assert!(
        text.contains("incomplete_stream") && !text.contains("[DONE]"),
        "{text}"
    );
    let (trace, _) = end(&mut vm, exchange);
    assert_eq!(trace.outcome(), v1::Outcome::UpstreamBrokeOff);
    assert_eq!(trace.error.unwrap().code, "incomplete_stream");
}

#[test]
fn a_stream_that_is_reset_is_recorded_as_broken_off() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = stream(&mut vm, "openai/small");
    exchange.respond_more(&part("He"), false);
    exchange.cut(CUT);
    let (trace, _) = end(&mut vm, exchange);
    let metric = "opentracy.gateway.provider.openai.event.provider_failed.events";
    assert_eq!(vm.envoy.metric(metric), 1);
    assert_eq!(trace.outcome(), v1::Outcome::UpstreamBrokeOff);
    assert_eq!(trace.error.unwrap().code, "incomplete_stream");
    assert_eq!(trace.response, part("He"));
}

#[test]
fn an_error_in_the_middle_ends_the_stream_without_the_key_in_it() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = stream(&mut vm, "openai/small");
    exchange.respond_more(&part("He"), false);
    let reason = json!({"message": "key-of-openai broke", "type": "server_error"});
    exchange.respond_more(&event(&json!({"error": reason})), false);
    exchange.respond_more(&part("never seen"), true);
    let text = exchange.client().text();
    assert!(
        text.contains(" broke") && !text.contains("key-of-openai"),
        "{text}"
    );
    assert!(!text.contains("never seen"));
    let (trace, _) = end(&mut vm, exchange);
    assert_eq!(trace.outcome(), v1::Outcome::UpstreamBrokeOff);
    assert!(!trace.error.unwrap().message.contains("key-of-openai"));
}

#[test]
fn a_pause_in_a_stream_closes_it_by_the_deadline() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = stream(&mut vm, "openai/small");
    // Each event starts the provider's 5 s again, at the next tick.
    for _ in 0..4 {
        exchange.respond_more(&part("on"), false);
        vm.tick(Duration::from_millis(4000));
        assert!(!exchange.is_closed());
    }
    exchange.respond_more(&part("and"), false);
    vm.tick(Duration::from_millis(5000));
    assert!(!exchange.is_closed());
    vm.tick(Duration::from_millis(100));
    assert!(exchange.is_closed());
    assert!(!exchange.client().is_complete);
    let (trace, attempt) = end(&mut vm, exchange);
    assert_eq!(trace.outcome(), v1::Outcome::UpstreamBrokeOff);
    assert_eq!(trace.error.unwrap().code, "upstream_timeout");
    assert_eq!(attempt.error, "timeout");
    let metric = "opentracy.gateway.provider.openai.event.provider_failed.events";
    assert_eq!(vm.envoy.metric(metric), 1);
}

#[test]
fn the_first_event_starts_the_deadline_again() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = stream(&mut vm, "openai/small");
    vm.tick(Duration::from_millis(4000));
    exchange.respond_more(&part("He"), false);
    vm.tick(Duration::from_millis(4900));
    assert!(!exchange.is_closed());
}

#[test]
fn a_complete_stream_has_no_deadline() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = stream(&mut vm, "openai/small");
    exchange.respond_more(&part("Hi"), false);
    exchange.respond_more(&last_parts(), true);
    vm.tick(Duration::from_secs(10));
    assert!(!exchange.is_closed());
    assert_eq!(end(&mut vm, exchange).0.outcome(), v1::Outcome::Completed);
}

#[test]
fn a_client_that_leaves_a_stream_is_recorded_with_what_it_got() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = stream(&mut vm, "openai/small");
    exchange.respond_more(&part("He"), false);
    exchange.cut("downstream_remote_disconnect");
    let (trace, attempt) = end(&mut vm, exchange);
    assert_eq!(trace.outcome(), v1::Outcome::ClientDisconnected);
    assert!(trace.error.is_none());
    assert_eq!(trace.response, part("He"));
    assert_eq!(attempt.error, "");
}

#[test]
fn usage_reaches_only_the_client_that_asked_for_it() {
    let tokens = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15});
    let usage = event(&json!({"choices": [], "usage": tokens}));
    let finish = json!({"index": 0, "delta": {}, "finish_reason": "stop"});
    let finish = event(&json!({"choices": [finish]}));
    let mut vm = Vm::gateway_with(snapshot());
    for wants_usage in [false, true] {
        let mut body = chat("openai/small");
        body["stream"] = json!(true);
        if wants_usage {
            body["stream_options"] = json!({"include_usage": true});
        }
        let mut exchange = vm.post(CHAT, &body);
        let sent = exchange.upstream().json();
        assert_eq!(
            sent["stream_options"]["include_usage"], true,
            "the gateway needs it"
        );
        exchange.begin_response(200, &SSE, false);
        for chunk in [&part("Hi"), &finish, &usage] {
            exchange.respond_more(chunk, false);
        }
        exchange.respond_more(b"data: [DONE]\n\n", true);
        let text = exchange.client().text();
        assert_eq!(text.contains("prompt_tokens"), wants_usage, "{text}");
        assert_eq!(end(&mut vm, exchange).0.usage.unwrap().input, 10);
    }
}

#[test]
fn a_stream_is_passed_on_without_being_recorded_when_memory_is_short() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = stream(&mut vm, "openai/small");
    exchange.respond_more(&part("He"), false);
    vm.envoy.set_memory(400 << 20);
    exchange.respond_more(&part("llo"), false);
    vm.envoy.set_memory(0);
    exchange.respond_more(&last_parts(), true);
    assert!(exchange.client().text().contains("\"llo\""));
    let (trace, _) = end(&mut vm, exchange);
    assert!(trace.content_truncated);
    assert!(!String::from_utf8_lossy(&trace.response).contains("llo"));
    assert_eq!(trace.usage.unwrap().output, 5);
}

#[test]
fn a_stream_from_the_provider_stage_is_already_in_the_clients_api() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut body = chat("chain");
    body["stream"] = json!(true);
    let mut exchange = vm.post(CHAT, &body);
    let log = json!([{"number": 1, "summary": {
        "provider": "openai", "model": "small", "status": 200, "error": null, "latency_ms": 5,
    }}]);
    let log = log.to_string();
    let headers = [SSE[0], ("x-opentracy-attempt-log", log.as_str())];
    exchange.begin_response(200, &headers, false);
    assert_eq!(
        exchange.client().status(),
        200,
        "its beginning was seen before"
    );
    assert_eq!(
        exchange.client().header("x-opentracy-selected-model"),
        "openai/small"
    );
    exchange.respond_more(&part("Hi"), false);
    // The provider stage watches the pauses of its own attempts.
    vm.tick(Duration::from_secs(20));
    assert!(!exchange.is_closed());
    exchange.respond_more(&last_parts(), true);
    assert!(exchange.client().is_complete);
}
