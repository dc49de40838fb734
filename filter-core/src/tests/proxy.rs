//! Providers' own APIs, below `/proxy/PROVIDER/`.

use opentracy_proto::v1;
use serde_json::json;

use crate::fake_envoy::{Exchange, Vm};
use crate::tests::stages::{DONE, EVENTS, all_formats, client_key, event, records_of, send};
use crate::tests::world::{JSON, snapshot};

/// Returns a configuration with a key "team" and a key "boss", which is an administrator's.
fn with_keys() -> v1::Snapshot {
    let mut wire = all_formats();
    let boss = v1::ClientKey {
        role: v1::Role::Admin.into(),
        ..client_key("boss")
    };
    wire.keys.extend([client_key("team"), boss]);
    wire
}

fn get(vm: &mut Vm, path: &str) -> Exchange {
    send(vm, "GET", path, &[], b"")
}

/// Sends a request with the key "team".
fn as_team(vm: &mut Vm, method: &str, path: &str, body: &[u8]) -> Exchange {
    let headers = [
        ("authorization", "Bearer team"),
        ("content-type", "application/json"),
    ];
    send(vm, method, path, &headers, body)
}

fn code(exchange: &mut Exchange) -> (u16, String) {
    let got = exchange.client();
    let code = got.json()["error"]["code"].as_str().map(str::to_owned);
    (got.status(), code.unwrap_or_default())
}

#[test]
fn a_path_is_the_providers_own_with_or_without_its_base() {
    let mut vm = Vm::gateway_with(snapshot());
    for (path, sent) in [
        (
            "/proxy/openai/models?limit=3&a=%2Fb",
            "/v1/models?limit=3&a=%2Fb",
        ),
        ("/proxy/openai/v1/models?limit=3", "/v1/models?limit=3"),
        ("/proxy/openai/v1", "/v1"),
        ("/proxy/openai/v1beta/x", "/v1/v1beta/x"),
        ("/proxy/openai", "/v1"),
    ] {
        let mut exchange = get(&mut vm, path);
        let got = exchange.upstream();
        assert_eq!(got.header(":path"), sent, "{path}");
        assert_eq!(got.header("x-opentracy-cluster"), "provider_openai");
    }
}

#[test]
fn method_headers_and_body_pass_and_credentials_are_replaced() {
    let mut vm = Vm::gateway_with(snapshot());
    let headers = [
        ("content-type", "text/x-own"),
        ("x-own", "value"),
        ("user-agent", "client/1"),
        ("authorization", "Bearer secret-of-the-client"),
        ("x-api-key", "secret-of-the-client"),
        ("x-goog-api-key", "secret-of-the-client"),
        ("api-key", "secret-of-the-client"),
        ("cookie", "secret-of-the-client"),
        ("proxy-authorization", "secret-of-the-client"),
        ("x-amz-security-token", "secret-of-the-client"),
        ("accept-encoding", "gzip"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-http-method-override", "DELETE"),
        ("x-opentracy-cluster", "opentracy_management"),
        ("x-envoy-retry-on", "5xx"),
    ];
    let mut exchange = send(
        &mut vm,
        "PATCH",
        "/proxy/openai/things/1",
        &headers,
        b"body",
    );
    let sent = exchange.upstream();
    assert_eq!(sent.header(":method"), "PATCH");
    assert_eq!(sent.header("content-type"), "text/x-own");
    assert_eq!(sent.header("x-own"), "value");
    assert_eq!(sent.header("user-agent"), "client/1");
    assert_eq!(sent.header("authorization"), "Bearer key-of-openai");
    assert_eq!(sent.text(), "body");
    assert_eq!(sent.header("x-opentracy-cluster"), "provider_openai");
    for name in [
        "x-api-key",
        "x-goog-api-key",
        "api-key",
        "cookie",
        "proxy-authorization",
        "x-amz-security-token",
        "accept-encoding",
        "x-forwarded-for",
        "x-http-method-override",
        "x-envoy-retry-on",
    ] {
        assert_eq!(sent.header(name), "", "{name}");
    }
}

#[test]
fn a_request_to_aws_is_signed_once_it_is_complete() {
    let mut vm = Vm::gateway_with(all_formats());
    let headers = [
        (":method", "POST"),
        (":authority", "localhost:8080"),
        (":path", "/proxy/bedrock/model/m/invoke"),
        ("content-type", "application/json"),
        ("authorization", "AWS4-HMAC-SHA256 the client's"),
    ];
    let mut exchange = vm.open(&headers, false);
    exchange.send(b"{\"a\":", false);
    assert!(exchange.upstream().headers.is_empty());
    exchange.send(b"1}", true);
    let sent = exchange.upstream();
    assert_eq!(sent.text(), r#"{"a":1}"#);
    let signature = sent.header("authorization");
    let own = "AWS4-HMAC-SHA256 Credential=id-of-a-key/20260102/us-east-1/";
    assert!(signature.starts_with(own), "{signature}");
}

#[test]
fn bodies_pass_chunk_by_chunk_in_both_directions() {
    let mut vm = Vm::gateway_with(snapshot());
    let headers = [
        (":method", "POST"),
        (":authority", "localhost:8080"),
        (":path", "/proxy/openai/things"),
        ("content-type", "application/octet-stream"),
    ];
    let mut exchange = vm.open(&headers, false);
    for (chunk, whole) in [(&b"ab"[..], "ab"), (b"cd", "abcd")] {
        exchange.send(chunk, false);
        assert_eq!(exchange.upstream().text(), whole);
    }
    exchange.send(b"ef", true);
    assert!(exchange.upstream().is_complete);
    exchange.begin_response(200, &[("content-type", "audio/wav")], false);
    for (chunk, whole) in [(&b"12"[..], "12"), (b"34", "1234")] {
        exchange.respond_more(chunk, false);
        assert_eq!(exchange.client().text(), whole);
    }
    exchange.respond_more(b"56", true);
    let got = exchange.client();
    assert_eq!((got.text().as_str(), got.is_complete), ("123456", true));
}

#[test]
fn a_call_is_recorded_with_its_usage_and_without_its_content() {
    let mut vm = Vm::gateway_with(snapshot());
    let body = br#"{"input":"Hello"}"#;
    let mut exchange = send(&mut vm, "POST", "/proxy/openai/responses", &JSON, body);
    let answer = json!({"output": "Hi", "usage": {"input_tokens": 6, "output_tokens": 2}});
    exchange.respond(200, &JSON, answer.to_string().as_bytes());
    assert_eq!(exchange.client().json(), answer);
    let (trace, attempts) = records_of(&mut vm, exchange);
    assert_eq!(trace.api(), v1::Api::Proxy);
    assert_eq!(
        (trace.provider.as_str(), trace.model.as_str()),
        ("openai", "")
    );
    let usage = trace.usage.unwrap();
    assert_eq!((usage.input, usage.output), (6, 2));
    assert!(trace.request.is_empty() && trace.response.is_empty());
    assert_eq!(attempts[0].status, 200);
}

#[test]
fn an_error_keeps_its_own_form_and_loses_keys() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = get(&mut vm, "/proxy/openai/models");
    let own = r#"{"type":"error","detail":"the key key-of-openai is wrong","n":1}"#;
    exchange.respond(
        403,
        &[("content-type", "application/problem+json")],
        own.as_bytes(),
    );
    let got = exchange.client();
    assert_eq!(got.status(), 403);
    assert_eq!(got.header("content-type"), "application/problem+json");
    assert_eq!(got.text(), own.replace("key-of-openai", "[SECRET]"));
    assert_eq!(got.header("content-length"), got.body.len().to_string());
}

#[test]
fn a_compressed_error_is_replaced_because_keys_may_hide_in_it() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = get(&mut vm, "/proxy/openai/models");
    let headers = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
    ];
    exchange.respond(500, &headers, &[31, 139, 8, 0]);
    let got = exchange.client();
    assert_eq!(got.status(), 500);
    assert_eq!(got.header("content-encoding"), "");
    assert_eq!(
        got.json()["error"]["message"],
        "openai answered with status 500"
    );
}

#[test]
fn an_answer_without_a_body_passes() {
    let mut vm = Vm::gateway_with(snapshot());
    for status in [204, 304, 404, 500] {
        let mut exchange = get(&mut vm, "/proxy/openai/models");
        exchange.respond(status, &[("x-own", "value")], b"");
        let got = exchange.client();
        assert_eq!((got.status(), got.is_complete), (status, true));
        assert_eq!(got.header("x-own"), "value");
        let (trace, _) = records_of(&mut vm, exchange);
        assert_eq!(trace.status, u32::from(status));
    }
}

#[test]
fn a_stream_of_events_passes_and_its_errors_lose_keys() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = send(&mut vm, "POST", "/proxy/openai/stream", &JSON, b"{}");
    exchange.begin_response(200, &EVENTS, false);
    let fine = event(&json!({"own": "event"}));
    exchange.respond_more(&fine, false);
    assert_eq!(exchange.client().body, fine);
    let broken = event(&json!({"error": "bad key-of-openai"}));
    exchange.respond_more(&broken, false);
    exchange.respond_more(DONE, true);
    let text = exchange.client().text();
    assert!(text.contains("bad [SECRET]"), "{text}");
    assert!(text.ends_with("data: [DONE]\n\n"));
}

#[test]
fn an_unknown_provider_or_one_without_a_key_is_an_error() {
    let mut wire = snapshot();
    wire.providers[1].missing_key_variable = Some("SECOND_API_KEY".to_owned());
    let mut vm = Vm::gateway_with(wire);
    let mut unknown = get(&mut vm, "/proxy/nobody/models");
    assert_eq!(code(&mut unknown), (404, "provider_not_found".to_owned()));
    let mut without = get(&mut vm, "/proxy/second/models");
    assert_eq!(code(&mut without), (401, "provider_key_missing".to_owned()));
    assert!(without.client().text().contains("SECOND_API_KEY"));
}

#[test]
fn a_path_can_not_lead_out_of_the_providers_base() {
    let mut vm = Vm::gateway_with(snapshot());
    for path in [
        "/proxy/openai/../admin",
        "/proxy/openai/v1/../../admin",
        "/proxy/openai/./models",
        "/proxy/openai/%2e%2e/admin",
        "/proxy/openai/x%2F..%2Fadmin",
        "/proxy/openai/x%5cadmin",
        "/proxy/openai/x\\admin",
        "/proxy/openai/x%00",
    ] {
        let mut exchange = get(&mut vm, path);
        assert_eq!(
            code(&mut exchange),
            (400, "invalid_path".to_owned()),
            "{path}"
        );
        assert!(exchange.upstream().headers.is_empty());
    }
}

#[test]
fn a_key_reaches_no_objects_that_all_keys_share() {
    let mut vm = Vm::gateway_with(with_keys());
    for (method, path) in [
        ("GET", "/proxy/openai/files"),
        ("POST", "/proxy/openai/fine_tuning/jobs"),
        ("GET", "/proxy/openai/v1/responses/resp_1"),
        ("POST", "/proxy/openai/Files"),
        ("DELETE", "/proxy/openai/models/m"),
        ("GET", "/proxy/openai/anything"),
    ] {
        let mut exchange = as_team(&mut vm, method, path, b"");
        assert_eq!(
            code(&mut exchange),
            (403, "shared_resource".to_owned()),
            "{path}"
        );
        assert!(exchange.upstream().headers.is_empty());
    }
    let mut models = as_team(&mut vm, "GET", "/proxy/openai/models", b"");
    assert!(models.upstream().is_complete);
    let headers = [("authorization", "Bearer boss")];
    let mut boss = send(&mut vm, "GET", "/proxy/openai/files", &headers, b"");
    assert!(boss.upstream().is_complete);
    let mut stranger = get(&mut vm, "/proxy/openai/models");
    assert_eq!(stranger.client().status(), 401);
}

#[test]
fn a_body_that_names_a_file_waits_for_its_owner() {
    let mut vm = Vm::gateway_with(with_keys());
    let body = br#"{"input":[{"type":"input_file","file_id":"file-1"}]}"#;
    for owned in [true, false] {
        let mut exchange = as_team(&mut vm, "POST", "/proxy/openai/responses", body);
        assert!(exchange.upstream().headers.is_empty());
        let asked: v1::ResolveRequest = vm.asked("Resolve");
        assert_eq!(
            (asked.owner.as_str(), asked.provider.as_str()),
            ("key:team", "openai")
        );
        assert_eq!(asked.ids, ["file-1"]);
        let answer = v1::ResolveResponse { owned: vec![owned] };
        vm.answer_for(&mut exchange, "Resolve", &answer);
        if owned {
            assert_eq!(exchange.upstream().body, body);
        } else {
            assert_eq!(code(&mut exchange), (404, "resource_not_found".to_owned()));
            assert!(exchange.upstream().headers.is_empty());
        }
    }
    let other = br#"{"previous_response_id":"resp_1"}"#;
    let mut exchange = as_team(&mut vm, "POST", "/proxy/openai/responses", other);
    assert_eq!(code(&mut exchange), (404, "resource_not_found".to_owned()));
}
