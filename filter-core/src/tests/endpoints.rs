//! The endpoints of the gateway, the other APIs of clients, and paths that nothing serves.

use opentracy_proto::v1;
use serde_json::json;

use crate::fake_envoy::Vm;
use crate::tests::world::{
    JSON, chat, completion, error, failure, get, key, plan, post_with, request, snapshot,
};

#[test]
fn a_client_of_anthropics_api_gets_anthropics_answers_from_any_provider() {
    let mut vm = Vm::gateway_with(snapshot());
    let body = json!({"model": "openai/small", "max_tokens": 50, "system": "Be brief.",
        "messages": [{"role": "user", "content": "Hello"}]});
    let mut exchange = vm.post("/v1/messages", &body);
    let sent = exchange.upstream();
    assert_eq!(sent.header(":path"), "/v1/chat/completions");
    assert_eq!(sent.json()["messages"][0]["content"], "Be brief.");
    exchange.respond(200, &JSON, &completion("Hi"));
    let got = exchange.client().json();
    assert_eq!(got["type"], "message");
    assert_eq!(got["content"][0]["text"], "Hi");
    assert_eq!(got["usage"]["output_tokens"], 5);
    assert_eq!(got["_routing"]["selected_model"], "openai/small");
    exchange.end();
    let trace = vm.records().traces.remove(0);
    assert_eq!(trace.api(), v1::Api::Messages);
    assert_eq!(trace.usage.unwrap().input, 10);
}

#[test]
fn a_client_of_anthropics_api_gets_errors_in_its_shape() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut body = chat("unknown");
    body["max_tokens"] = json!(50);
    let mut exchange = vm.post("/v1/messages", &body);
    let got = exchange.client();
    assert_eq!(got.status(), 404);
    assert_eq!(got.json()["type"], "error");
    assert_eq!(got.json()["error"]["type"], "not_found_error");
    body["model"] = json!("small");
    let mut exchange = vm.post("/v1/messages", &body);
    exchange.respond(429, &JSON, &failure("slow down"));
    let got = exchange.client();
    assert_eq!(got.status(), 429);
    assert_eq!(got.json()["error"]["type"], "rate_limit_error");
}

#[test]
fn a_client_of_the_responses_api_gets_its_answers_from_any_provider() {
    let mut vm = Vm::gateway_with(snapshot());
    let body = json!({"model": "openai/small", "input": "Hello", "instructions": "Be brief."});
    let mut exchange = vm.post("/v1/responses", &body);
    let sent = exchange.upstream();
    assert_eq!(sent.header(":path"), "/v1/chat/completions");
    assert_eq!(sent.json()["model"], "small");
    exchange.respond(200, &JSON, &completion("Hi"));
    let got = exchange.client().json();
    assert_eq!(
        (got["object"].clone(), got["status"].clone()),
        (json!("response"), json!("completed"))
    );
    assert_eq!(got["output"][0]["content"][0]["text"], "Hi");
    assert_eq!(
        got["instructions"], "Be brief.",
        "an answer repeats the request"
    );
    exchange.end();
    assert_eq!(vm.records().traces[0].api(), v1::Api::Responses);
}

#[test]
fn a_plan_says_which_api_its_client_uses() {
    let mut vm = Vm::gateway_with(snapshot());
    let body = json!({"model": "chain", "input": "Hello"});
    let mut exchange = vm.post("/v1/responses", &body);
    let sent = exchange.upstream();
    assert_eq!(plan(sent).len(), 2);
    assert_eq!(sent.header(":path"), "/v1/responses");
    let plan: serde_json::Value =
        serde_json::from_str(sent.header("x-opentracy-plan")).expect("a plan");
    assert_eq!(plan["api"], "responses");
}

#[test]
fn tokens_are_counted_by_anthropic_and_estimated_for_others() {
    let mut vm = Vm::gateway_with(snapshot());
    let path = "/v1/messages/count_tokens";
    let mut exchange = vm.post(path, &chat("anthropic/claude"));
    let sent = exchange.upstream();
    assert_eq!(sent.header(":path"), path);
    assert_eq!(sent.header("x-opentracy-cluster"), "provider_anthropic");
    assert_eq!(sent.json()["model"], "claude");
    exchange.respond(200, &JSON, br#"{"input_tokens":17}"#);
    assert_eq!(exchange.client().json(), json!({"input_tokens": 17}));
    exchange.end();
    let mut exchange = vm.post(path, &chat("openai/small"));
    assert!(exchange.upstream().headers.is_empty());
    assert!(exchange.client().json()["input_tokens"].as_u64() > Some(0));
    exchange.end();
    assert!(vm.records().traces.is_empty(), "a count is not a call");
}

#[test]
fn a_count_that_is_not_posted_leaves_no_trace() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = get(&mut vm, "/v1/messages/count_tokens", &[]);
    let got = exchange.client();
    assert_eq!(got.status(), 405);
    assert_eq!(got.json()["type"], "error", "in Anthropic's shape");
    exchange.end();
    assert!(vm.records().traces.is_empty());
}

#[test]
fn a_count_that_fails_is_an_error_in_anthropics_shape() {
    let mut vm = Vm::gateway_with(snapshot());
    let path = "/v1/messages/count_tokens";
    let mut exchange = vm.post(path, &chat("unknown"));
    assert_eq!(exchange.client().status(), 404);
    assert_eq!(exchange.client().json()["type"], "error");
    let mut exchange = vm.post(path, &chat("anthropic/claude"));
    let reason = json!({"type": "overloaded_error", "message": "busy, key-of-anthropic"});
    let body = json!({"type": "error", "error": reason});
    exchange.respond(529, &JSON, body.to_string().as_bytes());
    let got = exchange.client();
    assert_eq!(got.json()["type"], "error");
    assert!(got.text().contains("busy") && !got.text().contains("key-of-anthropic"));
    let mut late = vm.post(path, &chat("anthropic/claude"));
    vm.tick(std::time::Duration::from_secs(5));
    assert_eq!(late.client().status(), 504);
    assert_eq!(late.client().json()["error"]["type"], "timeout_error");
}

#[test]
fn models_are_listed_without_the_control_plane() {
    let mut vm = Vm::gateway_with(snapshot());
    let got = get(&mut vm, "/v1/models", &[]).client().json();
    let ids: Vec<&str> = got["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["chain", "only", "openai/small", "second/large"]);
    for path in [
        "/v1/models/small",
        "/v1/models/openai%2Fsmall",
        "/v1/models/only?x=1",
    ] {
        assert_eq!(get(&mut vm, path, &[]).client().status(), 200, "{path}");
    }
    assert_eq!(get(&mut vm, "/v1/models/none", &[]).client().status(), 404);
    let mut exchange = request(&mut vm, "DELETE", "/v1/models/small", &[], b"");
    assert_eq!(
        error(exchange.client()),
        (405, "method_not_allowed".to_owned())
    );
}

#[test]
fn models_wait_for_a_configuration() {
    let mut vm = Vm::gateway();
    let mut exchange = get(&mut vm, "/v1/models", &[]);
    assert_eq!(
        error(exchange.client()),
        (503, "gateway_starting".to_owned())
    );
}

#[test]
fn probes_are_answered_before_and_after_the_configuration() {
    let mut vm = Vm::gateway();
    let status = |vm: &mut Vm, path: &str| get(vm, path, &[]).client().clone();
    assert_eq!(status(&mut vm, "/healthz").text(), "ok");
    for path in ["/readyz", "/health"] {
        let got = status(&mut vm, path);
        assert_eq!((got.status(), got.header("retry-after")), (503, "1"));
    }
    vm.configure(snapshot());
    assert_eq!(status(&mut vm, "/readyz").json()["status"], "ready");
    let health = status(&mut vm, "/health").json();
    assert_eq!(
        (health["status"].clone(), health["reasons"].clone()),
        (json!("healthy"), json!([]))
    );
}

#[test]
fn health_names_a_fault_to_those_with_a_key_and_counts_it_for_others() {
    let mut snapshot = snapshot();
    snapshot.keys = vec![key("team")];
    let mut vm = Vm::gateway_with(snapshot);
    let headers = [("authorization", "Bearer sk-team")];
    for _ in 0..5 {
        let mut exchange = post_with(
            &mut vm,
            "/v1/chat/completions",
            &headers,
            &chat("openai/small"),
        );
        exchange.respond(500, &JSON, &failure("x"));
        exchange.end();
    }
    let known = get(&mut vm, "/health", &headers).client().json();
    assert_eq!(known["status"], "degraded");
    let open = |reason: &&serde_json::Value| reason["code"] == "circuit_open";
    let reason = known["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .find(open)
        .unwrap();
    assert!(reason["message"].as_str().unwrap().contains("openai/small"));
    let mut exchange = get(&mut vm, "/health", &[]);
    let got = exchange.client();
    assert_eq!((got.status(), got.text().contains("openai")), (200, false));
    let hidden = got.json();
    let reason = hidden["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .find(open)
        .unwrap();
    assert_eq!(reason["count"], 1);
}

#[test]
fn a_silent_control_plane_degrades_health_and_stops_no_call() {
    let mut vm = Vm::gateway_with(snapshot());
    vm.tick(std::time::Duration::from_secs(6));
    let health = get(&mut vm, "/health", &[]).client().json();
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["reasons"][0]["code"], "control_plane_unreachable");
    let mut exchange = vm.post("/v1/chat/completions", &chat("small"));
    assert!(exchange.upstream().is_complete);
    vm.configure(snapshot());
    let health = get(&mut vm, "/health", &[]).client().json();
    assert_eq!(health["status"], "healthy");
}

#[test]
fn a_path_under_v1_that_nothing_serves_is_a_404() {
    let mut vm = Vm::gateway_with(snapshot());
    for path in ["/v1/nothing", "/v1/chat", "/v1/"] {
        let mut exchange = get(&mut vm, path, &[]);
        assert!(exchange.upstream().headers.is_empty(), "{path}");
        assert_eq!(error(exchange.client()), (404, "unknown_url".to_owned()));
    }
    assert!(vm.records().traces.is_empty());
}

#[test]
fn a_path_of_another_application_passes_without_the_gateways_headers() {
    let mut vm = Vm::gateway_with(snapshot());
    let headers = [
        ("x-opentracy-cluster", "provider_openai"),
        ("cookie", "own"),
    ];
    let mut exchange = get(&mut vm, "/shop", &headers);
    let sent = exchange.upstream();
    assert!(sent.is_complete);
    assert_eq!(sent.header("x-opentracy-cluster"), "");
    assert_eq!(sent.header("cookie"), "own");
    exchange.respond(200, &[("set-cookie", "a=b")], b"<html>");
    let got = exchange.client();
    assert_eq!(
        (got.text().as_str(), got.header("set-cookie")),
        ("<html>", "a=b")
    );
}

#[test]
fn a_client_cannot_address_the_gateways_own_hops() {
    let mut vm = Vm::gateway_with(snapshot());
    for host in ["opentracy-direct", "OpenTracy-Internal:80"] {
        let headers = [
            (":authority", host),
            ("x-opentracy-cluster", "provider_openai"),
        ];
        let mut exchange = get(&mut vm, "/shop", &headers);
        assert!(exchange.upstream().headers.is_empty(), "{host}");
        assert_eq!(exchange.client().status(), 404);
    }
}

#[test]
fn calls_are_posted() {
    let mut vm = Vm::gateway_with(snapshot());
    for path in [
        "/v1/chat/completions",
        "/v1/messages",
        "/v1/responses",
        "/v1/route",
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            let mut exchange = request(&mut vm, method, path, &[], b"");
            assert_eq!(exchange.client().status(), 405, "{method} {path}");
            assert!(exchange.upstream().headers.is_empty());
        }
    }
}

#[test]
fn the_control_planes_endpoints_get_a_signed_request() {
    let mut snapshot = snapshot();
    snapshot.management_secret = "a secret".to_owned();
    let mut vm = Vm::gateway_with(snapshot);
    let headers = [
        ("x-opentracy-token", "forged"),
        ("x-opentracy-on-behalf-of", "root"),
    ];
    let mut exchange = get(&mut vm, "/metrics", &headers);
    let sent = exchange.upstream();
    assert_eq!(sent.header(":authority"), "opentracy-direct");
    assert_eq!(sent.header("x-opentracy-cluster"), "opentracy_management");
    assert_eq!(sent.header("x-forwarded-host"), "localhost:8080");
    assert!(!matches!(sent.header("x-opentracy-token"), "" | "forged"));
    assert_eq!(sent.header("x-opentracy-on-behalf-of"), "");
    exchange.respond(
        200,
        &[("server", "x"), ("content-type", "text/plain")],
        b"up 1",
    );
    let got = exchange.client();
    assert_eq!((got.text().as_str(), got.header("server")), ("up 1", ""));
}
