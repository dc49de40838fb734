//! Helpers of the tests that are about the provider stage, both stages, or their control plane.

use opentracy_proto::v1;
use opentracy_translate::access;
use serde_json::{Value, json};

use crate::fake_envoy::{Exchange, InternalListener, SentMessage, Upstream, Vm};
use crate::tests::world::{JSON, provider, snapshot};

pub const EVENTS: [(&str, &str); 1] = [("content-type", "text/event-stream")];
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// Returns a server-sent event.
pub fn event(data: &Value) -> Vec<u8> {
    format!("data: {data}\n\n").into_bytes()
}

/// Returns a chunk of an answer in OpenAI's format.
pub fn chunk(text: &str) -> Vec<u8> {
    event(&json!({
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "small",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}],
    }))
}

/// Returns an error in OpenAI's format.
pub fn error(message: &str) -> Vec<u8> {
    json!({"error": {"message": message, "type": "x"}})
        .to_string()
        .into_bytes()
}

/// Returns a configuration with a provider of each format, and further keys of one.
pub fn all_formats() -> v1::Snapshot {
    let mut snapshot = snapshot();
    let bedrock = v1::Provider {
        headers: Vec::new(),
        aws: Some(v1::AwsCredentials {
            access_key_id: "id-of-a-key".to_owned(),
            secret_access_key: "secret-of-a-key".to_owned(),
            session_token: None,
            region: "us-east-1".to_owned(),
        }),
        ..provider("bedrock", v1::Format::Bedrock)
    };
    let further = |name: &str| v1::Header {
        name: "authorization".to_owned(),
        value: format!("Bearer {name}"),
    };
    let several_keys = v1::Provider {
        keys: vec![further("second-key"), further("third-key")],
        ..provider("several", v1::Format::Openai)
    };
    snapshot.providers.extend([
        provider("gemini", v1::Format::Gemini),
        bedrock,
        provider("cohere", v1::Format::Cohere),
        several_keys,
    ]);
    snapshot
}

/// Sends the request of an attempt at a planned candidate to the provider stage.
pub fn attempt(vm: &mut Vm, plan: &[&str], number: u32, body: &Value) -> Exchange {
    let plan = json!({"trace_id": "trace-1", "attempts": plan}).to_string();
    let number = number.to_string();
    let headers = [
        (":method", "POST"),
        (":authority", "opentracy-internal"),
        (":path", "/v1/chat/completions"),
        ("x-opentracy-plan", &plan),
        ("x-envoy-attempt-count", &number),
    ];
    vm.request(&headers, body.to_string().as_bytes())
}

/// Returns the log of attempts in an answer of the provider stage.
pub fn attempt_log(answer: &SentMessage) -> Value {
    serde_json::from_str(answer.header("x-opentracy-attempt-log")).unwrap_or_default()
}

/// Both stages of a gateway.
pub struct Stages {
    pub gateway: Vm,
    pub listener: InternalListener,
}

impl Stages {
    pub fn start(snapshot: v1::Snapshot) -> Self {
        let gateway = Vm::gateway_with(snapshot.clone());
        let listener = InternalListener::start(&gateway.envoy, snapshot);
        Self { gateway, listener }
    }

    /// Makes a call of several attempts. Returns the requests of the attempts, and the answer.
    pub fn call(
        &mut self,
        body: &Value,
        upstreams: Vec<Upstream>,
    ) -> (Vec<SentMessage>, SentMessage) {
        let mut call = self.gateway.post("/v1/chat/completions", body);
        let requests = self.listener.relay(&mut call, upstreams);
        let answer = call.client().clone();
        call.end();
        (requests, answer)
    }
}

/// Returns the clusters that requests were sent to.
pub fn clusters(requests: &[SentMessage]) -> Vec<&str> {
    let cluster = |request| SentMessage::header(request, "x-opentracy-cluster");
    requests.iter().map(cluster).collect()
}

/// Returns the answer to a GET request that the gateway stage answers itself.
pub fn get(vm: &mut Vm, path: &str) -> SentMessage {
    let headers = [
        (":method", "GET"),
        (":authority", "localhost:8080"),
        (":path", path),
    ];
    vm.request(&headers, b"").client().clone()
}

/// Returns the codes of the faults in `/health`.
pub fn faults(vm: &mut Vm) -> Vec<String> {
    let health = get(vm, "/health").json();
    let reasons = health["reasons"].as_array().unwrap();
    let code = |reason: &Value| reason["code"].as_str().unwrap().to_owned();
    reasons.iter().map(code).collect()
}

/// Makes a call of one attempt, and returns its answer.
pub fn call(vm: &mut Vm, body: &Value, status: u16, answer: &[u8]) -> SentMessage {
    let mut exchange = vm.post("/v1/chat/completions", body);
    exchange.respond(status, &JSON, answer);
    let got = exchange.client().clone();
    exchange.end();
    got
}

/// Returns a client's key, whose secret is its name.
pub fn client_key(name: &str) -> v1::ClientKey {
    v1::ClientKey {
        name: name.to_owned(),
        sha256: access::digest(b"", name),
        ..v1::ClientKey::default()
    }
}

/// Sends a request with a method, further headers and a whole body to the gateway stage.
pub fn send(
    vm: &mut Vm,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Exchange {
    let mut all = vec![
        (":method", method),
        (":authority", "localhost:8080"),
        (":path", path),
    ];
    all.extend(headers);
    vm.request(&all, body)
}

/// Ends an exchange, and returns its trace and the records with it.
pub fn records_of(vm: &mut Vm, exchange: Exchange) -> (v1::Trace, Vec<v1::Attempt>) {
    exchange.end();
    let mut records = vm.records();
    (records.traces.remove(0), records.attempts)
}
