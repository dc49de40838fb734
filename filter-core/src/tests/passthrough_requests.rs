//! Endpoints that aren't conversations: the requests to providers, and their answers.

use opentracy_proto::v1;
use serde_json::{Value, json};

use crate::fake_envoy::{Exchange, Vm};
use crate::tests::stages::{all_formats, error, records_of, send};
use crate::tests::world::{JSON, alias, model, snapshot};

const BOUNDARY: &str = "multipart/form-data; boundary=cut";

fn config() -> v1::Snapshot {
    let mut wire = all_formats();
    wire.models.push(model("openai", "embed"));
    wire.aliases.push(alias("vectors", &["openai/embed"]));
    wire
}

fn form(parts: &[(&str, &str)]) -> String {
    let part = |(disposition, content): &(&str, &str)| {
        format!("--cut\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}\r\n")
    };
    parts.iter().map(part).collect::<String>() + "--cut--\r\n"
}

/// Begins a request with a form of a known length.
fn begin_form(vm: &mut Vm, length: usize) -> Exchange {
    let headers = [
        (":method", "POST"),
        (":authority", "localhost:8080"),
        (":path", "/v1/audio/transcriptions"),
        ("content-type", BOUNDARY),
        ("content-length", &length.to_string()),
    ];
    vm.open(&headers, false)
}

fn error_of(exchange: &mut Exchange) -> (u16, Value) {
    let got = exchange.client();
    (got.status(), got.json()["error"].clone())
}

#[test]
fn embeddings_reach_the_model_and_are_recorded_with_their_cost() {
    let mut vm = Vm::gateway_with(config());
    let body = br#"{"model":"vectors","input":"Hi"}"#;
    let length = body.len().to_string();
    let headers = [
        ("content-type", "application/json"),
        ("content-length", &length),
    ];
    let mut exchange = send(&mut vm, "POST", "/v1/embeddings", &headers, body);
    let sent = exchange.upstream();
    assert!(sent.is_complete);
    assert_eq!(sent.header("x-opentracy-cluster"), "provider_openai");
    assert_eq!(sent.header(":path"), "/v1/embeddings");
    assert_eq!(sent.header(":authority"), "opentracy-direct");
    assert_eq!(sent.header("authorization"), "Bearer key-of-openai");
    assert_eq!(sent.json()["model"], "embed");
    assert_eq!(
        sent.header("content-length"),
        sent.body.len().to_string(),
        "the body was rewritten"
    );
    let answer = json!({"object": "list", "model": "embed",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
        "usage": {"prompt_tokens": 4, "total_tokens": 4}});
    exchange.respond(200, &JSON, answer.to_string().as_bytes());
    let got = exchange.client();
    assert_eq!(got.json()["data"][0]["embedding"], json!([0.5]));
    assert_eq!(got.header("x-opentracy-selected-model"), "openai/embed");
    assert!(!got.header("x-opentracy-trace-id").is_empty());
    let (trace, attempts) = records_of(&mut vm, exchange);
    assert_eq!(trace.api(), v1::Api::Embeddings);
    assert_eq!(trace.requested_model, "vectors");
    assert_eq!(trace.alias, "vectors");
    assert_eq!(
        (trace.provider.as_str(), trace.model.as_str()),
        ("openai", "embed")
    );
    assert_eq!(trace.usage.unwrap().input, 4);
    assert!((trace.cost.unwrap().total - 4e-6).abs() < 1e-12);
    assert!(String::from_utf8_lossy(&trace.request).contains("Hi"));
    assert!(trace.response.is_empty(), "nobody reads vectors");
    assert_eq!(trace.outcome(), v1::Outcome::Completed);
    assert_eq!((attempts[0].status, attempts[0].number), (200, 1));
    assert_eq!(attempts[0].trace_id, trace.id);
}

#[test]
fn embeddings_are_translated_for_other_formats() {
    let mut vm = Vm::gateway_with(config());
    let cohere = json!({"id": "1", "embeddings": {"float": [[0.5]]}, "texts": ["Hi"],
        "meta": {"billed_units": {"input_tokens": 4}}});
    let gemini = json!({"embeddings": [{"values": [0.5]}]});
    for (name, path, answer) in [
        ("cohere", "/v2/embed", cohere),
        ("gemini", "/models/m:batchEmbedContents", gemini),
    ] {
        let body = json!({"model": format!("{name}/m"), "input": "Hi"});
        let mut exchange = vm.post("/v1/embeddings", &body);
        assert_eq!(exchange.upstream().header(":path"), path);
        exchange.respond(200, &JSON, answer.to_string().as_bytes());
        let got = exchange.client();
        assert_eq!(got.json()["object"], "list", "{}", got.text());
        assert_eq!(got.json()["data"][0]["embedding"], json!([0.5]));
        exchange.end();
    }
}

#[test]
fn images_go_to_the_provider_of_a_named_model_or_to_the_default() {
    let mut wire = config();
    wire.endpoints
        .insert("images".to_owned(), "second".to_owned());
    let mut vm = Vm::gateway_with(wire);
    for (model, cluster, sent_model) in [
        ("openai/draw", "provider_openai", "draw"),
        ("draw-2", "provider_second", "draw-2"),
    ] {
        let body = json!({"model": model, "prompt": "A zebra", "n": 1});
        let mut exchange = vm.post("/v1/images/generations", &body);
        let sent = exchange.upstream();
        assert_eq!(sent.header("x-opentracy-cluster"), cluster);
        assert_eq!(sent.header(":path"), "/v1/images/generations");
        let expected = json!({"model": sent_model, "prompt": "A zebra", "n": 1});
        assert_eq!(sent.json(), expected);
        exchange.respond(200, &JSON, br#"{"data":[{"b64_json":"aGk="}]}"#);
        assert_eq!(
            exchange.client().text(),
            r#"{"data":[{"b64_json":"aGk="}]}"#
        );
        let (trace, _) = records_of(&mut vm, exchange);
        assert_eq!(trace.api(), v1::Api::Images);
        assert_eq!(trace.model, sent_model);
    }
}

#[test]
fn moderations_need_no_model() {
    let mut vm = Vm::gateway_with(config());
    let mut exchange = vm.post("/v1/moderations", &json!({"input": "Hi"}));
    assert_eq!(exchange.upstream().text(), r#"{"input":"Hi"}"#, "unchanged");
    exchange.respond(200, &JSON, br#"{"results":[]}"#);
    let (trace, _) = records_of(&mut vm, exchange);
    assert_eq!(
        (trace.provider.as_str(), trace.model.as_str()),
        ("openai", "")
    );
    assert_eq!(trace.request, br#"{"input":"Hi"}"#);
    assert_eq!(trace.response, br#"{"results":[]}"#);
    assert_eq!(trace.cost, None);
}

#[test]
fn an_endpoint_that_the_models_format_lacks_is_refused() {
    let mut vm = Vm::gateway_with(config());
    let mut exchange = vm.post(
        "/v1/moderations",
        &json!({"model": "anthropic/m", "input": "Hi"}),
    );
    assert!(exchange.upstream().headers.is_empty());
    let (status, error) = error_of(&mut exchange);
    assert_eq!(
        (status, &error["code"]),
        (400, &json!("unsupported_endpoint"))
    );
    let (trace, attempts) = records_of(&mut vm, exchange);
    assert_eq!(trace.status, 400);
    assert!(attempts.is_empty(), "nothing was sent");
}

#[test]
fn a_body_that_can_not_be_read_is_refused() {
    let mut vm = Vm::gateway_with(config());
    for (body, code) in [
        (&b"[]"[..], "invalid_json"),
        (b"{\"model\":", "invalid_json"),
        (b"\xff", "invalid_json"),
    ] {
        let mut exchange = send(&mut vm, "POST", "/v1/embeddings", &JSON, body);
        let (status, error) = error_of(&mut exchange);
        assert_eq!((status, error["code"].as_str()), (400, Some(code)));
    }
}

#[test]
fn speech_passes_chunk_by_chunk() {
    let mut vm = Vm::gateway_with(config());
    let body = json!({"model": "openai/speak", "input": "Hi", "voice": "v"});
    let mut exchange = vm.post("/v1/audio/speech", &body);
    let length = [("content-type", "audio/mpeg"), ("content-length", "6")];
    exchange.begin_response(200, &length, false);
    assert_eq!(exchange.client().header("content-type"), "audio/mpeg");
    assert_eq!(exchange.client().header("content-length"), "6");
    exchange.respond_more(&[0, 255, 1], false);
    assert_eq!(exchange.client().body, [0, 255, 1]);
    exchange.respond_more(&[2, 254, 3], true);
    assert_eq!(exchange.client().body, [0, 255, 1, 2, 254, 3]);
    let (trace, _) = records_of(&mut vm, exchange);
    assert_eq!(trace.api(), v1::Api::Speech);
    assert!(String::from_utf8_lossy(&trace.request).contains("voice"));
    assert!(trace.response.is_empty(), "sound isn't recorded");
    assert_eq!(trace.outcome(), v1::Outcome::Completed);
}

#[test]
fn a_form_is_sent_as_soon_as_its_model_is_known() {
    let mut vm = Vm::gateway_with(config());
    let whole = form(&[
        ("name=\"language\"", "en"),
        ("name=\"model\"", "openai/whisper"),
        ("name=\"file\"; filename=\"a.wav\"", "SOUND"),
    ]);
    let mut exchange = begin_form(&mut vm, whole.len());
    let in_the_name = whole.find("/whisper").unwrap();
    let in_the_file = whole.find("UND").unwrap();
    exchange.send(&whole.as_bytes()[..in_the_name], false);
    assert!(exchange.upstream().headers.is_empty());
    exchange.send(&whole.as_bytes()[in_the_name..in_the_file], false);
    let sent = exchange.upstream();
    assert_eq!(sent.header("x-opentracy-cluster"), "provider_openai");
    assert_eq!(sent.header(":path"), "/v1/audio/transcriptions");
    assert_eq!(sent.header("content-type"), BOUNDARY);
    assert!(sent.text().ends_with("\r\n\r\nSO"), "{}", sent.text());
    exchange.send(&whole.as_bytes()[in_the_file..], true);
    let sent = exchange.upstream();
    assert!(sent.is_complete);
    assert_eq!(sent.text(), whole.replace("openai/whisper", "whisper"));
    assert_eq!(sent.header("content-length"), sent.body.len().to_string());
    exchange.respond(
        200,
        &JSON,
        br#"{"text":"Hi","usage":{"input_tokens":9,"output_tokens":2}}"#,
    );
    let (trace, _) = records_of(&mut vm, exchange);
    assert_eq!(trace.api(), v1::Api::Transcriptions);
    assert_eq!(
        (trace.requested_model.as_str(), trace.model.as_str()),
        ("openai/whisper", "whisper")
    );
    let usage = trace.usage.unwrap();
    assert_eq!((usage.input, usage.output), (9, 2));
    assert!(trace.request.is_empty(), "sound isn't recorded");
    assert!(String::from_utf8_lossy(&trace.response).contains("Hi"));
}

#[test]
fn a_form_whose_model_comes_after_the_file_goes_to_the_default() {
    let mut wire = config();
    wire.endpoints
        .insert("transcriptions".to_owned(), "second/whisper".to_owned());
    let mut vm = Vm::gateway_with(wire);
    let whole = form(&[
        ("name=\"file\"; filename=\"a.wav\"", "SOUND"),
        ("name=\"model\"", "openai/whisper"),
    ]);
    let mut exchange = begin_form(&mut vm, whole.len());
    exchange.send(whole.as_bytes(), true);
    let sent = exchange.upstream();
    assert_eq!(sent.header("x-opentracy-cluster"), "provider_second");
    assert_eq!(sent.text(), whole, "nothing is rewritten");
    assert_eq!(sent.header("content-length"), whole.len().to_string());
    let (trace, _) = records_of(&mut vm, exchange);
    assert_eq!(trace.model, "whisper");
}

#[test]
fn sound_that_is_not_in_a_form_is_refused() {
    let mut vm = Vm::gateway_with(config());
    let mut exchange = vm.post(
        "/v1/audio/transcriptions",
        &json!({"model": "openai/whisper"}),
    );
    let (status, error) = error_of(&mut exchange);
    assert_eq!((status, &error["code"]), (400, &json!("invalid_form")));
}

#[test]
fn the_clients_own_headers_stay_behind() {
    let mut vm = Vm::gateway_with(config());
    let headers = [
        ("content-type", "application/json"),
        ("authorization", "Bearer secret-of-the-client"),
        ("x-api-key", "secret-of-the-client"),
        ("cookie", "a=b"),
        ("x-opentracy-cluster", "opentracy_management"),
        ("x-envoy-max-retries", "100"),
        ("openai-beta", "x"),
    ];
    let body = br#"{"model":"openai/embed","input":"Hi"}"#;
    let mut exchange = send(&mut vm, "POST", "/v1/embeddings", &headers, body);
    let sent = exchange.upstream();
    assert_eq!(sent.header("authorization"), "Bearer key-of-openai");
    assert_eq!(sent.header("x-opentracy-cluster"), "provider_openai");
    assert_eq!(sent.header("openai-beta"), "x");
    for name in ["x-api-key", "cookie", "x-envoy-max-retries"] {
        assert_eq!(sent.header(name), "", "{name}");
    }
}

#[test]
fn headers_of_the_providers_connection_stay_behind() {
    let mut vm = Vm::gateway_with(config());
    let mut exchange = vm.post("/v1/moderations", &json!({"input": "Hi"}));
    let headers = [
        ("content-type", "application/json"),
        ("x-request-id", "r"),
        ("set-cookie", "a=b"),
        ("x-opentracy-retry", "1"),
        ("x-envoy-upstream-service-time", "1"),
        ("x-debug", "used key-of-openai"),
    ];
    exchange.respond(200, &headers, b"{}");
    let got = exchange.client();
    assert_eq!(got.header("x-request-id"), "r");
    assert!(!got.header("x-debug").contains("key-of-openai"));
    for name in [
        "set-cookie",
        "x-opentracy-retry",
        "x-envoy-upstream-service-time",
    ] {
        assert_eq!(got.header(name), "", "{name}");
    }
}

#[test]
fn a_providers_error_gets_openais_shape_and_no_key() {
    let mut vm = Vm::gateway_with(config());
    for (status, body, message) in [
        (429, error("key-of-openai is too busy"), "is too busy"),
        (500, b"<html>key-of-openai</html>".to_vec(), "status 500"),
        (401, b"{}".to_vec(), "refused the gateway's API key"),
    ] {
        let mut exchange = vm.post("/v1/moderations", &json!({"input": "Hi"}));
        let headers = [("content-type", "application/json"), ("retry-after", "7")];
        exchange.respond(status, &headers, &body);
        let got = exchange.client();
        assert_eq!(got.header("retry-after"), "7");
        assert_eq!(got.header("content-length"), got.body.len().to_string());
        let (own, error) = error_of(&mut exchange);
        assert_eq!(own, status);
        let text = error["message"].as_str().unwrap();
        assert!(
            text.contains(message) && !text.contains("key-of-openai"),
            "{text}"
        );
        let (trace, attempts) = records_of(&mut vm, exchange);
        assert_eq!(trace.status, u32::from(status));
        assert_eq!(trace.error.unwrap().message, text);
        assert_eq!(attempts[0].status, u32::from(status));
        assert!(!attempts[0].error.is_empty());
    }
}

#[test]
fn a_long_error_is_cut() {
    let mut vm = Vm::gateway_with(config());
    let mut exchange = vm.post("/v1/moderations", &json!({"input": "Hi"}));
    exchange.begin_response(500, &JSON, false);
    exchange.respond_more(&vec![b'x'; (1 << 20) + 1], false);
    assert_eq!(exchange.client().status(), 500, "no end is waited for");
    exchange.respond_more(&vec![b'y'; 1 << 20], true);
    let got = exchange.client();
    assert!(got.is_complete && got.body.len() < 1000);
    assert_eq!(got.json()["error"]["type"], "api_error");
}

#[test]
fn a_configuration_without_the_provider_is_an_error() {
    let mut wire = snapshot();
    wire.providers.retain(|provider| provider.name != "openai");
    let mut vm = Vm::gateway_with(wire);
    let mut exchange = vm.post("/v1/moderations", &json!({"input": "Hi"}));
    let (status, error) = error_of(&mut exchange);
    assert_eq!(
        (status, &error["code"]),
        (404, &json!("provider_not_found"))
    );
}
