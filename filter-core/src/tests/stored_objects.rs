//! Files and batches, which a provider stores for all callers, and which each belong to one key.

use opentracy_proto::v1;
use serde_json::{Value, json};

use crate::fake_envoy::{Exchange, Vm};
use crate::tests::stages::{client_key, error, records_of, send};
use crate::tests::world::{JSON, snapshot};

const UNAVAILABLE: u32 = 14;

/// Returns a configuration with a key "team" and a key "boss", which is an administrator's.
fn with_keys() -> v1::Snapshot {
    let mut wire = snapshot();
    let boss = v1::ClientKey {
        role: v1::Role::Admin.into(),
        ..client_key("boss")
    };
    wire.keys.extend([client_key("team"), boss]);
    wire
}

/// Sends a request with a key.
fn request(vm: &mut Vm, key: &str, method: &str, path: &str, body: &[u8]) -> Exchange {
    let authorization = format!("Bearer {key}");
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
    ];
    send(vm, method, path, &headers, body)
}

fn get(vm: &mut Vm, path: &str) -> Exchange {
    request(vm, "team", "GET", path, b"")
}

/// Answers the question about owners, and returns it.
fn resolve(vm: &mut Vm, exchange: &mut Exchange, owned: &[bool]) -> v1::ResolveRequest {
    let asked = vm.asked("Resolve");
    let answer = v1::ResolveResponse {
        owned: owned.to_vec(),
    };
    vm.answer_for(exchange, "Resolve", &answer);
    asked
}

fn respond(exchange: &mut Exchange, body: &Value) {
    exchange.respond(200, &JSON, body.to_string().as_bytes());
}

fn list(ids: &[&str], has_more: bool) -> Value {
    let data: Vec<Value> = ids
        .iter()
        .map(|id| json!({"id": id, "object": "file"}))
        .collect();
    json!({"object": "list", "data": data, "first_id": ids.first(), "last_id": ids.last(),
        "has_more": has_more})
}

fn ids(exchange: &mut Exchange) -> Vec<String> {
    let body = exchange.client().json();
    let data = body["data"].as_array().expect("a list");
    let id = |item: &Value| item["id"].as_str().unwrap().to_owned();
    data.iter().map(id).collect()
}

/// Returns the claims as pairs of an id and its parent.
fn claims(asked: &v1::ResolveRequest) -> Vec<(&str, &str)> {
    let claims = asked.claims.iter();
    claims
        .map(|claim| (claim.id.as_str(), claim.parent.as_str()))
        .collect()
}

fn code(exchange: &mut Exchange) -> (u16, String) {
    let got = exchange.client();
    let code = got.json()["error"]["code"].as_str().map(str::to_owned);
    (got.status(), code.unwrap_or_default())
}

#[test]
fn a_new_file_belongs_to_its_key_before_the_client_learns_its_id() {
    let mut vm = Vm::gateway_with(with_keys());
    let headers = [
        (":method", "POST"),
        (":authority", "localhost:8080"),
        (":path", "/v1/files"),
        ("authorization", "Bearer team"),
        ("content-type", "multipart/form-data; boundary=cut"),
    ];
    let mut exchange = vm.open(&headers, false);
    exchange.send(b"--cut", false);
    assert!(
        exchange.upstream().headers.is_empty(),
        "is there a control plane?"
    );
    let asked = resolve(&mut vm, &mut exchange, &[]);
    assert!(asked.ids.is_empty() && asked.claims.is_empty());
    let sent = exchange.upstream();
    assert_eq!(sent.header(":path"), "/v1/files");
    assert_eq!(sent.header("authorization"), "Bearer key-of-openai");
    assert_eq!(sent.text(), "--cut");
    exchange.send(b"--", true);
    assert_eq!(exchange.upstream().text(), "--cut--", "it is streamed");
    let created = json!({"id": "file-1", "object": "file"});
    respond(&mut exchange, &created);
    assert_eq!(exchange.client().status(), 0);
    let asked = resolve(&mut vm, &mut exchange, &[true]);
    assert_eq!(
        (asked.owner.as_str(), asked.provider.as_str()),
        ("key:team", "openai")
    );
    assert_eq!(claims(&asked), [("file-1", "")]);
    assert_eq!(asked.ids, ["file-1"]);
    let got = exchange.client();
    assert_eq!((got.status(), got.json()), (200, created));
    assert!(got.is_complete);
    let (trace, _) = records_of(&mut vm, exchange);
    assert_eq!(trace.api(), v1::Api::Files);
    assert_eq!((trace.key.as_str(), trace.status), ("team", 200));
    assert!(trace.request.is_empty() && trace.response.is_empty());
}

#[test]
fn a_new_file_whose_id_belongs_to_another_key_is_not_handed_out() {
    let mut vm = Vm::gateway_with(with_keys());
    let mut exchange = request(&mut vm, "team", "POST", "/v1/files", b"--cut--");
    resolve(&mut vm, &mut exchange, &[]);
    respond(&mut exchange, &json!({"id": "file-1"}));
    resolve(&mut vm, &mut exchange, &[false]);
    assert_eq!(
        code(&mut exchange),
        (502, "invalid_upstream_response".to_owned())
    );
    assert!(!exchange.client().text().contains("file-1"));
}

#[test]
fn nothing_is_created_while_no_owner_can_be_stored() {
    let mut vm = Vm::gateway_with(with_keys());
    let mut exchange = request(&mut vm, "team", "POST", "/v1/files", b"--cut--");
    vm.fail_for(&mut exchange, "Resolve", UNAVAILABLE);
    assert_eq!(
        code(&mut exchange),
        (503, "resources_unavailable".to_owned())
    );
    assert!(exchange.upstream().headers.is_empty());
    vm.envoy.refuse_calls(true);
    let mut exchange = request(&mut vm, "team", "POST", "/v1/files", b"--cut--");
    assert_eq!(
        code(&mut exchange),
        (503, "resources_unavailable".to_owned())
    );
    assert!(exchange.upstream().headers.is_empty());
}

#[test]
fn a_key_reads_its_own_files_and_finds_no_others() {
    let mut vm = Vm::gateway_with(with_keys());
    for (method, path) in [
        ("GET", "/v1/files/file-1"),
        ("GET", "/v1/files/file-1/content"),
        ("DELETE", "/v1/files/file-1"),
    ] {
        let mut own = request(&mut vm, "team", method, path, b"");
        assert!(own.upstream().headers.is_empty());
        assert_eq!(resolve(&mut vm, &mut own, &[true]).ids, ["file-1"]);
        let sent = own.upstream();
        assert_eq!(
            (sent.header(":method"), sent.header(":path")),
            (method, path)
        );
        own.begin_response(200, &[("content-type", "text/plain")], false);
        own.respond_more(b"line", false);
        assert_eq!(own.client().text(), "line", "it is streamed");

        let mut other = request(&mut vm, "team", method, path, b"");
        resolve(&mut vm, &mut other, &[false]);
        assert_eq!(code(&mut other), (404, "resource_not_found".to_owned()));
        assert!(other.upstream().headers.is_empty());
    }
}

#[test]
fn an_id_with_escapes_is_not_found() {
    let mut vm = Vm::gateway_with(with_keys());
    let mut exchange = get(&mut vm, "/v1/files/file%2D1");
    assert_eq!(code(&mut exchange), (404, "resource_not_found".to_owned()));
    assert!(vm.pending("Resolve").is_empty());
}

#[test]
fn an_unanswered_question_about_an_owner_is_an_error() {
    let mut vm = Vm::gateway_with(with_keys());
    let mut exchange = get(&mut vm, "/v1/files/file-1");
    vm.fail_for(&mut exchange, "Resolve", UNAVAILABLE);
    assert_eq!(
        code(&mut exchange),
        (503, "resources_unavailable".to_owned())
    );
    assert!(exchange.upstream().headers.is_empty());
}

#[test]
fn a_list_shows_what_the_key_owns() {
    let mut vm = Vm::gateway_with(with_keys());
    let mut exchange = get(&mut vm, "/v1/files?purpose=batch");
    let sent = exchange.upstream();
    assert_eq!(sent.header(":path"), "/v1/files?purpose=batch");
    respond(&mut exchange, &list(&["file-1", "file-2", "file-3"], true));
    assert_eq!(exchange.client().status(), 0);
    let asked = resolve(&mut vm, &mut exchange, &[true, false, true]);
    assert_eq!(asked.ids, ["file-1", "file-2", "file-3"]);
    assert_eq!(ids(&mut exchange), ["file-1", "file-3"]);
    let got = exchange.client();
    assert_eq!(got.json()["last_id"], "file-3");
    assert_eq!(got.json()["has_more"], true);
    assert_eq!(got.header("content-length"), got.body.len().to_string());
}

#[test]
fn a_page_without_own_files_is_followed_by_the_next() {
    let mut vm = Vm::gateway_with(with_keys());
    let mut exchange = get(&mut vm, "/v1/files?limit=2&purpose=batch");
    respond(&mut exchange, &list(&["file-1", "file-2"], true));
    resolve(&mut vm, &mut exchange, &[false, false]);
    let page = vm.pending_http().remove(0);
    assert_eq!(page.cluster, "provider_openai");
    let header = |name: &str| {
        let found = page.headers.iter().find(|(own, _)| own == name);
        found.map_or("", |(_, value)| value.as_str())
    };
    assert_eq!(
        header(":path"),
        "/v1/files?purpose=batch&limit=1000&after=file-2"
    );
    assert_eq!(header(":authority"), "api.openai.test");
    assert_eq!(header("authorization"), "Bearer key-of-openai");
    let next = list(&["file-3", "file-4", "file-5", "file-6"], false).to_string();
    vm.answer_http(&mut exchange, Some((200, next.as_bytes())));
    assert_eq!(exchange.client().status(), 0);
    let asked = resolve(&mut vm, &mut exchange, &[false, true, true, true]);
    assert_eq!(asked.ids.len(), 4);
    assert_eq!(
        ids(&mut exchange),
        ["file-4", "file-5"],
        "two, as the client asked"
    );
    assert_eq!(exchange.client().json()["has_more"], true);
    assert!(exchange.client().is_complete);
}

#[test]
fn a_next_page_that_fails_is_an_error() {
    let mut vm = Vm::gateway_with(with_keys());
    for (answer, expected) in [
        (None, "upstream_unreachable"),
        (Some((500, &b"{}"[..])), "upstream_unreachable"),
        (Some((200, b"<html>")), "invalid_upstream_response"),
    ] {
        let mut exchange = get(&mut vm, "/v1/files");
        respond(&mut exchange, &list(&["file-1"], true));
        resolve(&mut vm, &mut exchange, &[false]);
        vm.answer_http(&mut exchange, answer);
        assert_eq!(code(&mut exchange), (502, expected.to_owned()));
    }
}

#[test]
fn a_list_that_names_no_ids_is_not_handed_out() {
    let mut vm = Vm::gateway_with(with_keys());
    let mut exchange = get(&mut vm, "/v1/files");
    respond(
        &mut exchange,
        &json!({"data": [{"name": "secret of another key"}]}),
    );
    assert_eq!(
        code(&mut exchange),
        (502, "invalid_upstream_response".to_owned())
    );
}

#[test]
fn a_cursor_must_be_an_own_object() {
    let mut vm = Vm::gateway_with(with_keys());
    let mut exchange = get(&mut vm, "/v1/files?after=file-9");
    assert_eq!(resolve(&mut vm, &mut exchange, &[false]).ids, ["file-9"]);
    assert_eq!(code(&mut exchange), (404, "resource_not_found".to_owned()));
}

#[test]
fn an_error_of_the_provider_asks_for_no_owners() {
    let mut vm = Vm::gateway_with(with_keys());
    let mut exchange = get(&mut vm, "/v1/files");
    exchange.respond(500, &JSON, &error("bad key-of-openai"));
    assert!(vm.pending("Resolve").is_empty());
    assert_eq!(exchange.client().status(), 500);
    assert!(!exchange.client().text().contains("key-of-openai"));
}

#[test]
fn an_administrator_and_an_open_gateway_see_everything() {
    let mut vm = Vm::gateway_with(with_keys());
    let whole = list(&["file-1", "file-2"], false);
    let mut listed = request(&mut vm, "boss", "GET", "/v1/files", b"");
    respond(&mut listed, &whole);
    assert_eq!(listed.client().json(), whole);
    let mut one = request(&mut vm, "boss", "GET", "/v1/files/file-1", b"");
    assert!(one.upstream().is_complete);
    vm.configure(snapshot());
    let mut listed = send(&mut vm, "GET", "/v1/files", &[], b"");
    respond(&mut listed, &whole);
    assert_eq!(listed.client().json(), whole);
    assert!(vm.pending("Resolve").is_empty());
}

#[test]
fn a_batch_needs_an_own_file_and_belongs_to_its_key() {
    let mut vm = Vm::gateway_with(with_keys());
    let body = json!({"input_file_id": "file-1", "endpoint": "/v1/embeddings"}).to_string();
    let mut refused = request(&mut vm, "team", "POST", "/v1/batches", body.as_bytes());
    assert_eq!(resolve(&mut vm, &mut refused, &[false]).ids, ["file-1"]);
    assert_eq!(code(&mut refused), (404, "resource_not_found".to_owned()));

    let mut exchange = request(&mut vm, "team", "POST", "/v1/batches", body.as_bytes());
    resolve(&mut vm, &mut exchange, &[true]);
    assert_eq!(exchange.upstream().text(), body);
    respond(
        &mut exchange,
        &json!({"id": "batch-1", "output_file_id": null, "error_file_id": "file-9"}),
    );
    let asked = resolve(&mut vm, &mut exchange, &[true]);
    assert_eq!(claims(&asked), [("batch-1", ""), ("file-9", "batch-1")]);
    assert_eq!(exchange.client().json()["id"], "batch-1");
    let (trace, _) = records_of(&mut vm, exchange);
    assert_eq!(trace.api(), v1::Api::Batches);
}

#[test]
fn the_results_of_a_batch_belong_to_its_owner() {
    let mut vm = Vm::gateway_with(with_keys());
    let batch = json!({"id": "batch-1", "output_file_id": "file-2", "error_file_id": "file-3"});
    let expected = [("file-2", "batch-1"), ("file-3", "batch-1")];
    for (method, path) in [
        ("GET", "/v1/batches/batch-1"),
        ("POST", "/v1/batches/batch-1/cancel"),
    ] {
        let mut exchange = request(&mut vm, "team", method, path, b"");
        assert_eq!(resolve(&mut vm, &mut exchange, &[true]).ids, ["batch-1"]);
        respond(&mut exchange, &batch);
        assert_eq!(exchange.client().status(), 0, "the claims come first");
        let asked = resolve(&mut vm, &mut exchange, &[]);
        assert_eq!(claims(&asked), expected);
        assert_eq!(exchange.client().json(), batch);
    }
    let mut exchange = get(&mut vm, "/v1/batches");
    respond(&mut exchange, &json!({"data": [batch], "has_more": false}));
    let asked = resolve(&mut vm, &mut exchange, &[true]);
    assert_eq!(claims(&asked), expected);
    assert_eq!(ids(&mut exchange), ["batch-1"]);
}

#[test]
fn a_client_chooses_the_provider_of_its_files() {
    let mut wire = snapshot();
    wire.endpoints
        .insert("files".to_owned(), "second".to_owned());
    let mut vm = Vm::gateway_with(wire);
    for (headers, cluster) in [
        (vec![], "provider_second"),
        (vec![("x-opentracy-provider", "openai")], "provider_openai"),
    ] {
        let mut exchange = send(&mut vm, "GET", "/v1/files", &headers, b"");
        assert_eq!(exchange.upstream().header("x-opentracy-cluster"), cluster);
    }
}

#[test]
fn a_collection_is_listed_and_added_to_and_nothing_else() {
    let mut vm = Vm::gateway_with(with_keys());
    let mut exchange = request(&mut vm, "team", "DELETE", "/v1/files", b"");
    assert_eq!(code(&mut exchange), (405, "method_not_allowed".to_owned()));
    let mut exchange = get(&mut vm, "/v1/files/file-1/content/more");
    assert_eq!(code(&mut exchange), (404, "unknown_url".to_owned()));
}

#[test]
fn a_conversation_names_only_files_of_its_caller() {
    let mut vm = Vm::gateway_with(with_keys());
    let part = json!({"type": "file", "file": {"file_id": "file-1"}});
    let message = json!({"role": "user", "content": [part]});
    let body = json!({"model": "chain", "messages": [message]}).to_string();
    let ask = |vm: &mut Vm| request(vm, "team", "POST", "/v1/chat/completions", body.as_bytes());
    let mut exchange = ask(&mut vm);
    assert!(exchange.upstream().headers.is_empty(), "it waits");
    resolve(&mut vm, &mut exchange, &[true]);
    // The file is at this provider only.
    let sent = exchange.upstream();
    assert_eq!(sent.header("x-opentracy-cluster"), "provider_openai");
    let mut exchange = ask(&mut vm);
    resolve(&mut vm, &mut exchange, &[false]);
    assert_eq!(exchange.client().status(), 404);
}
