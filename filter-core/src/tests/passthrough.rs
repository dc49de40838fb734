//! Endpoints that are not about conversations: they pass to a provider nearly unchanged.

use std::time::Duration;

use opentracy_proto::v1;
use serde_json::{Value, json};

use crate::fake_envoy::{Exchange, Vm};
use crate::tests::world::{JSON, SSE, error, failure, get, key, post_with, request, snapshot};

const A: [(&str, &str); 1] = [("authorization", "Bearer sk-a")];
/// A status of gRPC.
const UNAVAILABLE: u32 = 14;

/// Starts a gateway with two keys.
fn gateway() -> Vm {
    Vm::gateway_with(v1::Snapshot {
        keys: vec![key("a"), key("b")],
        ..snapshot()
    })
}

/// Answers the request for owners.
fn answer_owned(vm: &mut Vm, exchange: &mut Exchange, owned: &[bool]) {
    let response = v1::ResolveResponse {
        owned: owned.to_vec(),
    };
    vm.answer_for(exchange, "Resolve", &response);
}

#[test]
fn embeddings_go_to_the_provider_of_their_model() {
    let mut vm = Vm::gateway_with(snapshot());
    let body = json!({"model": "second/embed", "input": "Hello"});
    let mut exchange = vm.post("/v1/embeddings", &body);
    let sent = exchange.upstream();
    assert_eq!(sent.header("x-opentracy-cluster"), "provider_second");
    assert_eq!(sent.header(":path"), "/v1/embeddings");
    assert_eq!(sent.header("authorization"), "Bearer key-of-second");
    assert_eq!(sent.json()["model"], "embed");
    let answer = json!({"object": "list", "model": "embed", "data": [],
        "usage": {"prompt_tokens": 3, "total_tokens": 3}});
    exchange.respond(200, &JSON, answer.to_string().as_bytes());
    assert_eq!(exchange.client().json()["object"], "list");
    exchange.end();
    let trace = vm.records().traces.remove(0);
    assert_eq!(trace.api(), v1::Api::Embeddings);
    assert_eq!(
        (trace.model.as_str(), trace.usage.unwrap().input),
        ("embed", 3)
    );
}

#[test]
fn a_provider_without_the_endpoint_is_named() {
    let mut vm = Vm::gateway_with(snapshot());
    let body = json!({"model": "anthropic/claude", "input": "Hello", "voice": "x"});
    let mut exchange = vm.post("/v1/audio/speech", &body);
    let got = exchange.client();
    assert_eq!(error(got), (400, "unsupported_endpoint".to_owned()));
    assert!(got.text().contains("/proxy/anthropic/"));
}

#[test]
fn an_upload_streams_once_its_model_is_known() {
    let mut vm = Vm::gateway_with(snapshot());
    let headers = [
        (":method", "POST"),
        (":authority", "localhost"),
        (":path", "/v1/audio/transcriptions"),
        ("content-type", "multipart/form-data; boundary=x"),
    ];
    let mut exchange = vm.open(&headers, false);
    let field = "--x\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\n";
    exchange.send(field.as_bytes(), false);
    assert!(exchange.upstream().headers.is_empty());
    exchange.send(b"second/whisper\r\n--x\r\n", false);
    let sent = exchange.upstream().clone();
    assert_eq!(sent.header("x-opentracy-cluster"), "provider_second");
    assert!(!sent.is_complete && sent.text().contains("\r\nwhisper\r\n"));
    exchange.send(b"sound", true);
    assert!(exchange.upstream().text().ends_with("sound"));
}

#[test]
fn a_providers_own_api_gets_the_clients_headers_but_not_its_key() {
    let mut vm = gateway();
    let headers = [
        A[0],
        ("x-custom", "1"),
        ("cookie", "c"),
        ("accept-encoding", "gzip"),
    ];
    let mut exchange = get(&mut vm, "/proxy/second/v1/models?limit=2", &headers);
    let sent = exchange.upstream();
    assert_eq!(sent.header(":path"), "/v1/models?limit=2");
    assert_eq!(sent.header(":method"), "GET");
    assert_eq!(sent.header("authorization"), "Bearer key-of-second");
    assert_eq!(sent.header("x-custom"), "1");
    assert_eq!(
        (sent.header("cookie"), sent.header("accept-encoding")),
        ("", "")
    );
    exchange.respond(200, &[("set-cookie", "a=b"), ("x-theirs", "1")], b"[]");
    let got = exchange.client();
    assert_eq!(
        (got.header("set-cookie"), got.header("x-theirs")),
        ("", "1")
    );
    exchange.end();
    assert_eq!(vm.records().traces[0].api(), v1::Api::Proxy);
    let mut exchange = get(&mut vm, "/proxy/nothing/v1/models", &A);
    assert_eq!(exchange.client().status(), 404);
}

#[test]
fn an_error_loses_the_providers_key_and_a_stream_too() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = vm.post("/proxy/openai/v1/responses", &json!({"model": "m"}));
    exchange.respond(401, &JSON, &failure("no key-of-openai"));
    let got = exchange.client();
    assert_eq!(got.status(), 401);
    assert!(!got.text().contains("key-of-openai"), "{}", got.text());
    let mut exchange = vm.post("/proxy/openai/v1/responses", &json!({"model": "m"}));
    exchange.begin_response(200, &SSE, false);
    exchange.respond_more(b"data: {\"text\":\"fine\"}\n\n", false);
    assert!(exchange.client().text().contains("fine"));
    let broken = String::from_utf8(failure("no key-of-openai")).unwrap();
    exchange.respond_more(format!("data: {broken}\n\n").as_bytes(), true);
    let text = exchange.client().text();
    assert!(
        text.contains("no ") && !text.contains("key-of-openai"),
        "{text}"
    );
}

#[test]
fn an_answer_that_stops_is_closed_and_one_that_is_held_becomes_an_error() {
    let mut vm = Vm::gateway_with(snapshot());
    let mut exchange = vm.post("/proxy/openai/v1/responses", &json!({"model": "m"}));
    exchange.begin_response(200, &SSE, false);
    exchange.respond_more(b"data: {}\n\n", false);
    vm.tick(Duration::from_millis(5100));
    assert!(exchange.is_closed());
    exchange.end();
    let trace = vm.records().traces.remove(0);
    assert_eq!(trace.outcome(), v1::Outcome::UpstreamBrokeOff);
    let body = json!({"model": "openai/embed", "input": "Hello"});
    let mut exchange = vm.post("/v1/embeddings", &body);
    exchange.begin_response(200, &JSON, false);
    vm.tick(Duration::from_millis(5000));
    assert_eq!(
        error(exchange.client()),
        (504, "upstream_timeout".to_owned())
    );
}

#[test]
fn envoys_own_reply_is_an_error_in_openais_shape() {
    let mut vm = Vm::gateway_with(snapshot());
    let body = json!({"model": "openai/embed", "input": "Hello"});
    let mut exchange = vm.post("/v1/embeddings", &body);
    exchange.fail(503, "no_healthy_upstream", &[]);
    assert_eq!(
        error(exchange.client()),
        (502, "upstream_unavailable".to_owned())
    );
    exchange.end();
    assert_eq!(vm.records().traces[0].status, 502);
}

#[test]
fn a_file_is_read_by_its_owner_alone() {
    let mut vm = gateway();
    let mut exchange = get(&mut vm, "/v1/files/file-1", &A);
    assert!(exchange.upstream().headers.is_empty());
    let asked: v1::ResolveRequest = vm.asked("Resolve");
    assert_eq!(
        (asked.provider.as_str(), asked.owner.as_str()),
        ("openai", "key:a")
    );
    assert_eq!(asked.ids, ["file-1"]);
    answer_owned(&mut vm, &mut exchange, &[true]);
    assert_eq!(exchange.upstream().header(":path"), "/v1/files/file-1");
    let mut exchange = get(&mut vm, "/v1/files/file-2", &A);
    answer_owned(&mut vm, &mut exchange, &[false]);
    assert_eq!(exchange.client().status(), 404);
    let mut exchange = get(&mut vm, "/v1/files/file-3", &A);
    vm.fail_for(&mut exchange, "Resolve", UNAVAILABLE);
    assert_eq!(
        error(exchange.client()),
        (503, "resources_unavailable".to_owned())
    );
}

#[test]
fn a_new_file_belongs_to_its_sender_before_the_client_learns_its_id() {
    let mut vm = gateway();
    let headers = [A[0], ("content-type", "multipart/form-data; boundary=x")];
    let mut exchange = request(&mut vm, "POST", "/v1/files", &headers, b"--x--");
    answer_owned(&mut vm, &mut exchange, &[]);
    assert!(exchange.upstream().is_complete);
    exchange.respond(200, &JSON, br#"{"id":"file-9","object":"file"}"#);
    assert!(exchange.client().headers.is_empty());
    let asked: v1::ResolveRequest = vm.asked("Resolve");
    assert_eq!(asked.claims[0].id, "file-9");
    answer_owned(&mut vm, &mut exchange, &[true]);
    assert_eq!(exchange.client().json()["id"], "file-9");
}

/// Returns a page of a list of files.
fn page(ids: &[&str], has_more: bool) -> Value {
    let files: Vec<Value> = ids
        .iter()
        .map(|id| json!({"id": id, "object": "file"}))
        .collect();
    json!({"object": "list", "data": files, "has_more": has_more})
}

#[test]
fn a_list_has_only_the_callers_files_and_skips_pages_without_any() {
    let mut vm = gateway();
    let mut exchange = get(&mut vm, "/v1/files?limit=2", &A);
    assert!(exchange.upstream().is_complete);
    let first = page(&["file-1", "file-2"], true);
    exchange.respond(200, &JSON, first.to_string().as_bytes());
    answer_owned(&mut vm, &mut exchange, &[false, false]);
    let next = vm.pending_http().remove(0);
    assert_eq!(next.cluster, "provider_openai");
    let path = next.headers.iter().find(|(name, _)| name == ":path");
    assert!(path.unwrap().1.contains("after=file-2"), "{path:?}");
    let second = page(&["file-3", "file-4"], true).to_string();
    vm.answer_http(&mut exchange, Some((200, second.as_bytes())));
    answer_owned(&mut vm, &mut exchange, &[false, true]);
    let got = exchange.client().json();
    assert_eq!(got["data"], json!([{"id": "file-4", "object": "file"}]));
    assert_eq!(got["has_more"], true);
}

#[test]
fn a_list_whose_next_page_fails_is_an_error() {
    let mut vm = gateway();
    let mut exchange = get(&mut vm, "/v1/files?limit=2", &A);
    let first = page(&["file-1", "file-2"], true);
    exchange.respond(200, &JSON, first.to_string().as_bytes());
    answer_owned(&mut vm, &mut exchange, &[false, false]);
    vm.answer_http(&mut exchange, None);
    assert_eq!(exchange.client().status(), 502);
}

#[test]
fn a_conversation_names_only_files_of_its_caller() {
    let mut vm = gateway();
    let part = json!({"type": "file", "file": {"file_id": "file-1"}});
    let message = json!({"role": "user", "content": [part]});
    let body = json!({"model": "chain", "messages": [message]});
    let mut exchange = post_with(&mut vm, "/v1/chat/completions", &A, &body);
    assert!(exchange.upstream().headers.is_empty());
    answer_owned(&mut vm, &mut exchange, &[true]);
    let sent = exchange.upstream();
    // The file is at this provider only.
    assert_eq!(sent.header("x-opentracy-cluster"), "provider_openai");
    let mut exchange = post_with(&mut vm, "/v1/chat/completions", &A, &body);
    answer_owned(&mut vm, &mut exchange, &[false]);
    assert_eq!(exchange.client().status(), 404);
}
