//! The requests of the provider stage's attempts, and their answers.

use std::time::Duration;

use opentracy_proto::v1;
use serde_json::{Value, json};

use crate::fake_envoy::{Exchange, Vm};
use crate::tests::stages::{DONE, EVENTS, all_formats, attempt, attempt_log, chunk};
use crate::tests::world::{JSON, chat, completion, provider, snapshot};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Answers in the formats of the providers.
fn hello(provider: &str) -> Value {
    match provider {
        "anthropic" => json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m",
            "content": [{"type": "text", "text": "Hello!"}],
            "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": 12, "output_tokens": 7},
        }),
        "gemini" => json!({
            "candidates": [{"content": {"role": "model", "parts": [{"text": "Hello!"}]},
                "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 12, "candidatesTokenCount": 7,
                "totalTokenCount": 19},
        }),
        "bedrock" => json!({
            "output": {"message": {"role": "assistant", "content": [{"text": "Hello!"}]}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": 12, "outputTokens": 7, "totalTokens": 19},
        }),
        "cohere" => json!({
            "id": "1", "finish_reason": "COMPLETE",
            "message": {"role": "assistant", "content": [{"type": "text", "text": "Hello!"}]},
            "usage": {"tokens": {"input_tokens": 12, "output_tokens": 7}},
        }),
        _ => serde_json::from_slice(&completion("Hello!")).unwrap(),
    }
}

/// Sends a request with a plan of any form, and further headers.
fn planned(vm: &mut Vm, plan: &Value, headers: &[(&str, &str)], body: &Value) -> Exchange {
    let plan = plan.to_string();
    let mut all = vec![(":path", "/"), ("x-opentracy-plan", plan.as_str())];
    all.extend(headers);
    vm.request(&all, body.to_string().as_bytes())
}

fn key_of(exchange: &mut Exchange) -> String {
    exchange.upstream().header("authorization").to_owned()
}

#[test]
fn each_attempt_goes_to_its_candidate_of_the_plan() {
    let mut vm = Vm::provider_with(snapshot());
    let plan = ["openai/small", "second/large", "anthropic/claude"];
    for (number, cluster, model) in [
        (1, "provider_openai", "small"),
        (2, "provider_second", "large"),
        (3, "provider_anthropic", "claude"),
    ] {
        let mut exchange = attempt(&mut vm, &plan, number, &chat("chain"));
        let sent = exchange.upstream();
        assert!(sent.is_complete);
        assert_eq!(sent.header("x-opentracy-cluster"), cluster);
        assert_eq!(sent.header("x-opentracy-plan"), "", "no provider sees it");
        assert_eq!(sent.json()["model"], model);
    }
}

#[test]
fn a_request_and_its_answer_are_translated_for_each_format() {
    let mut vm = Vm::provider_with(all_formats());
    for (name, path, prompt) in [
        ("openai", "/v1/chat/completions", "/messages/0/content"),
        ("anthropic", "/v1/messages", "/messages/0/content"),
        (
            "gemini",
            "/models/m:generateContent",
            "/contents/0/parts/0/text",
        ),
        ("bedrock", "/model/m/converse", "/messages/0/content/0/text"),
        ("cohere", "/v2/chat", "/messages/0/content"),
    ] {
        let plan = format!("{name}/m");
        let mut exchange = attempt(&mut vm, &[&plan], 1, &chat("alias"));
        let sent = exchange.upstream();
        assert_eq!(sent.header(":path"), path);
        assert_eq!(
            sent.header("content-length"),
            sent.body.len().to_string(),
            "{name}"
        );
        let body = sent.json();
        let asked = body.pointer(prompt).unwrap_or(&body);
        assert!(asked.to_string().contains("Hello"), "{name}: {body}");
        exchange.respond(200, &JSON, hello(name).to_string().as_bytes());
        let got = exchange.client();
        assert_eq!(got.status(), 200, "{name}: {}", got.text());
        assert_eq!(got.json()["choices"][0]["message"]["content"], "Hello!");
        assert_eq!(got.header("content-length"), got.body.len().to_string());
        assert_eq!(got.header("x-opentracy-retry"), "");
        exchange.end();
    }
}

#[test]
fn a_request_to_bedrock_is_signed() {
    let mut vm = Vm::provider_with(all_formats());
    let mut exchange = attempt(&mut vm, &["bedrock/m"], 1, &chat("alias"));
    let sent = exchange.upstream();
    let signature = sent.header("authorization").to_owned();
    let scope = "AWS4-HMAC-SHA256 Credential=id-of-a-key/20260102/us-east-1/bedrock/aws4_request";
    assert!(signature.starts_with(scope), "{signature}");
    assert_eq!(sent.header("x-amz-date"), "20260102T030406Z");
    let mut other = attempt(&mut vm, &["bedrock/other"], 1, &chat("alias"));
    assert_ne!(other.upstream().header("authorization"), signature);
}

#[test]
fn a_stream_is_held_until_it_begins_and_then_passes_chunk_by_chunk() {
    let mut vm = Vm::provider_with(snapshot());
    let mut exchange = attempt(&mut vm, &["openai/small"], 1, &chat("only"));
    exchange.begin_response(200, &EVENTS, false);
    assert_eq!(exchange.client().status(), 0);
    exchange.respond_more(b": a comment\n\n", false);
    assert_eq!(
        exchange.client().status(),
        0,
        "another attempt could follow"
    );
    exchange.respond_more(&chunk("Hel"), false);
    assert_eq!(
        exchange.client().header("content-type"),
        "text/event-stream"
    );
    assert!(exchange.client().text().contains("Hel"));
    exchange.respond_more(&chunk("lo"), false);
    assert!(exchange.client().text().contains("lo"));
    exchange.respond_more(DONE, true);
    let got = exchange.client();
    assert!(got.is_complete && got.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(attempt_log(got)[0]["summary"]["status"], 200);
}

#[test]
fn a_request_without_a_plan_passes_untouched() {
    let mut vm = Vm::provider_with(snapshot());
    let headers = [(":method", "POST"), (":path", "/elsewhere"), ("x", "y")];
    let mut exchange = vm.request(&headers, b"body");
    let sent = exchange.upstream();
    assert_eq!(
        (sent.header(":path"), sent.header("x")),
        ("/elsewhere", "y")
    );
    assert_eq!(sent.text(), "body");
    exchange.respond(404, &[("a", "b")], b"nothing");
    let got = exchange.client();
    assert_eq!((got.status(), got.text().as_str()), (404, "nothing"));
    exchange.end();
    assert!(vm.records().attempts.is_empty());
}

#[test]
fn a_plan_that_can_not_be_read_is_an_error_of_the_gateway() {
    let mut vm = Vm::provider_with(snapshot());
    let headers = [
        (":method", "POST"),
        (":path", "/"),
        ("x-opentracy-plan", "?"),
    ];
    let mut exchange = vm.request(&headers, b"{}");
    assert_eq!(exchange.client().status(), 500);
    assert!(exchange.upstream().headers.is_empty());
}

#[test]
fn the_timeout_is_the_plans_or_the_providers_and_envoys_comes_later() {
    let mut vm = Vm::provider_with(snapshot());
    let mut exchange = attempt(&mut vm, &["openai/small"], 1, &chat("only"));
    let timeout = "x-envoy-upstream-rq-per-try-timeout-ms";
    assert_eq!(exchange.upstream().header(timeout), "5500");
    let plan = json!({"trace_id": "t", "attempts": ["openai/small"], "per_try_timeout_ms": 700});
    let mut exchange = planned(&mut vm, &plan, &[], &chat("only"));
    assert_eq!(exchange.upstream().header(timeout), "1200");
}

#[test]
fn only_the_last_attempt_is_sent_again_after_a_reset() {
    let mut vm = Vm::provider_with(snapshot());
    let plan = ["openai/small", "second/large"];
    let mut first = attempt(&mut vm, &plan, 1, &chat("chain"));
    assert_eq!(first.upstream().header("x-envoy-retry-on"), "");
    let mut last = attempt(&mut vm, &plan, 2, &chat("chain"));
    assert_eq!(last.upstream().header("x-envoy-retry-on"), "reset");
    assert_eq!(last.upstream().header("x-envoy-max-retries"), "1");
}

#[test]
fn a_trace_context_is_passed_on_with_a_span_of_the_attempt() {
    let mut vm = Vm::provider_with(snapshot());
    let plan = json!({"trace_id": "t", "attempts": ["openai/small"]});
    let headers = [("traceparent", TRACEPARENT), ("tracestate", "a=b")];
    let mut exchange = planned(&mut vm, &plan, &headers, &chat("only"));
    let sent = exchange.upstream();
    let context = sent.header("traceparent").to_owned();
    assert_eq!(context[..36], TRACEPARENT[..36], "the same trace");
    assert_ne!(context, TRACEPARENT, "another span");
    assert_eq!(sent.header("tracestate"), "a=b");
    exchange.end();
    assert_eq!(vm.records().attempts[0].traceparent, TRACEPARENT);
}

#[test]
fn the_keys_of_a_provider_take_turns() {
    let mut vm = Vm::provider_with(all_formats());
    let keys: Vec<String> = (0..4)
        .map(|_| key_of(&mut attempt(&mut vm, &["several/m"], 1, &chat("alias"))))
        .collect();
    let (first, second, third) = ("key-of-several", "second-key", "third-key");
    let expected = [first, second, third, first].map(|key| format!("Bearer {key}"));
    assert_eq!(keys, expected);
}

#[test]
fn a_limited_key_rests_for_as_long_as_the_provider_says() {
    let mut vm = Vm::provider_with(all_formats());
    let mut exchange = attempt(&mut vm, &["several/m"], 1, &chat("alias"));
    let limited = key_of(&mut exchange);
    exchange.respond(429, &[("retry-after", "3")], b"{}");
    exchange.end();
    let keys_of_three = |vm: &mut Vm| {
        let mut keys = Vec::new();
        for _ in 0..3 {
            keys.push(key_of(&mut attempt(vm, &["several/m"], 1, &chat("alias"))));
        }
        keys
    };
    vm.tick(Duration::from_millis(2900));
    assert!(!keys_of_three(&mut vm).contains(&limited));
    vm.tick(Duration::from_millis(200));
    assert!(keys_of_three(&mut vm).contains(&limited));
}

#[test]
fn a_refused_key_rests_for_a_minute() {
    let mut vm = Vm::provider_with(all_formats());
    let mut exchange = attempt(&mut vm, &["several/m"], 1, &chat("alias"));
    let refused = key_of(&mut exchange);
    exchange.respond(401, &JSON, b"{}");
    exchange.end();
    for (seconds, is_used) in [(58, false), (3, true)] {
        vm.tick(Duration::from_secs(seconds));
        let mut attempts = (0..3).map(|_| attempt(&mut vm, &["several/m"], 1, &chat("alias")));
        let found = attempts.any(|mut exchange| key_of(&mut exchange) == refused);
        assert_eq!(found, is_used);
    }
}

#[test]
fn a_provider_of_a_newer_configuration_is_asked_for() {
    let mut vm = Vm::provider_with(snapshot());
    let mut exchange = attempt(&mut vm, &["newer/m"], 1, &chat("alias"));
    assert_eq!(exchange.upstream().headers.len(), 0);
    let asked: v1::GetSnapshotRequest = vm.asked("GetSnapshot");
    assert!(!asked.version.is_empty(), "only a change is sent");
    let mut newer = snapshot();
    newer.providers.push(provider("newer", v1::Format::Openai));
    let response = v1::GetSnapshotResponse {
        version: "newer".to_owned(),
        snapshot: Some(newer),
        vms: 1,
        status: None,
        ..v1::GetSnapshotResponse::default()
    };
    vm.answer_for(&mut exchange, "GetSnapshot", &response);
    let sent = exchange.upstream();
    assert!(sent.is_complete);
    assert_eq!(sent.header("x-opentracy-cluster"), "provider_newer");
    assert_eq!(sent.json()["model"], "m");
    attempt(&mut vm, &["newer/m"], 1, &chat("alias"));
    assert!(vm.pending("GetSnapshot").is_empty(), "it is known now");
}

#[test]
fn an_unknown_provider_is_an_error_that_another_candidate_may_avoid() {
    let mut vm = Vm::provider_with(snapshot());
    let mut asked = attempt(&mut vm, &["newer/m", "openai/small"], 1, &chat("alias"));
    vm.fail_for(&mut asked, "GetSnapshot", 14);
    vm.envoy.refuse_calls(true);
    let mut refused = attempt(&mut vm, &["newer/m", "openai/small"], 1, &chat("alias"));
    for exchange in [&mut asked, &mut refused] {
        let got = exchange.client();
        assert_eq!(got.status(), 503);
        assert_eq!(got.json()["error"]["code"], "gateway_starting");
        assert_eq!(got.header("x-opentracy-retry"), "1");
    }
}

#[test]
fn an_answer_has_the_form_of_the_clients_api() {
    let mut vm = Vm::provider_with(snapshot());
    let messages = json!({"model": "alias", "max_tokens": 10,
        "messages": [{"role": "user", "content": "Hello"}]});
    let responses = json!({"model": "alias", "input": "Hello", "instructions": "Be brief"});
    for (api, body, text) in [
        ("messages", &messages, "/content/0/text"),
        ("responses", &responses, "/output/0/content/0/text"),
    ] {
        for provider in ["openai", "anthropic"] {
            let mut exchange = planned(
                &mut vm,
                &json!({"trace_id": "t", "api": api, "attempts": [format!("{provider}/m")]}),
                &[],
                body,
            );
            assert!(exchange.upstream().text().contains("Hello"));
            exchange.respond(200, &JSON, hello(provider).to_string().as_bytes());
            let got = exchange.client().json();
            assert_eq!(got.pointer(text), Some(&json!("Hello!")), "{got}");
            if api == "responses" {
                assert_eq!(got["instructions"], "Be brief", "as in the request");
            }
            exchange.end();
        }
    }
}

#[test]
fn beta_features_are_requested_from_anthropic_only() {
    let mut vm = Vm::provider_with(snapshot());
    for (model, sent) in [("anthropic/m", "new-feature"), ("openai/m", "")] {
        let plan = json!({"trace_id": "t", "attempts": [model]});
        let beta = [("anthropic-beta", "new-feature")];
        let mut exchange = planned(&mut vm, &plan, &beta, &chat("alias"));
        assert_eq!(exchange.upstream().header("anthropic-beta"), sent);
    }
}

#[test]
fn the_access_log_gets_the_model_of_an_attempt() {
    let mut vm = Vm::provider_with(snapshot());
    let exchange = attempt(&mut vm, &["openai/small"], 1, &chat("only"));
    assert!(exchange.access_log().is_empty(), "it is off");
    let mut wire = snapshot();
    wire.access_log = true;
    vm.configure(wire);
    let exchange = attempt(&mut vm, &["openai/small"], 1, &chat("only"));
    let log = exchange.access_log();
    assert_eq!(log["opentracy_trace_id"], "trace-1");
    assert_eq!(log["opentracy_model"], "openai/small");
}
