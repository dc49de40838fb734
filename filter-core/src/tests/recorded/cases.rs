//! The recorded cases: requests and answers of the translation's fixtures, and some of their own.

use std::path::PathBuf;

use opentracy_translate::aws::event_stream;
use serde_json::{Value, json};

const EVENT_STREAM: &str = "text/event-stream";
const JSON: &str = "application/json";

pub struct Case {
    pub name: String,
    method: &'static str,
    path: String,
    content_type: &'static str,
    pub request: Vec<u8>,
    pub answer: Answer,
}

pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
    /// The size of the chunks in which the body arrives.
    pub chunk: usize,
    /// Envoy's response code details, if it answers instead of the provider.
    pub failure: Option<&'static str>,
}

impl Case {
    fn new(name: String, path: &str, request: &Value, answer: Answer) -> Self {
        Self {
            name,
            method: "POST",
            path: path.to_owned(),
            content_type: JSON,
            request: request.to_string().into_bytes(),
            answer,
        }
    }

    pub fn headers(&self) -> Vec<(&str, &str)> {
        vec![
            (":method", self.method),
            (":scheme", "http"),
            (":authority", "localhost:8080"),
            (":path", &self.path),
            ("content-type", self.content_type),
            ("user-agent", "curl/8"),
            (
                "traceparent",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            ),
        ]
    }
}

impl Answer {
    fn json(status: u16, body: Vec<u8>) -> Self {
        Self {
            status,
            content_type: JSON,
            body,
            chunk: usize::MAX,
            failure: None,
        }
    }

    fn stream(body: Vec<u8>) -> Self {
        Self {
            content_type: EVENT_STREAM,
            chunk: 97,
            ..Self::json(200, body)
        }
    }

    fn failure(details: &'static str) -> Self {
        Self {
            failure: Some(details),
            ..Self::json(503, Vec::new())
        }
    }
}

/// Returns a case for each answer, stream and error of a format's fixtures, with its requests in
/// turn.
pub fn of_format(format: &str) -> Vec<Case> {
    let model = match format {
        "anthropic" => "anthropic/claude-sonnet-4-5",
        "gemini" => "gemini/gemini-2.5-flash",
        "bedrock" => "bedrock/us.amazon.nova-pro-v1:0",
        "cohere" => "cohere/command-a-03-2025",
        _ => "openai/small",
    };
    of_fixtures(format, "/v1/chat/completions", model)
}

/// Returns a case for each answer and stream of a client API's fixtures, which are in OpenAI's
/// format.
pub fn of_api(api: &str) -> Vec<Case> {
    of_fixtures(api, &format!("/v1/{api}"), "openai/small")
}

fn of_fixtures(folder: &str, path: &str, model: &str) -> Vec<Case> {
    let requests = inputs(folder, "requests");
    let mut answers = Vec::new();
    for (name, body) in inputs(folder, "responses") {
        answers.push((name, false, Answer::json(200, body)));
    }
    for (name, body) in inputs(folder, "streams") {
        let answer = match folder {
            "bedrock" => Answer {
                content_type: "application/vnd.amazon.eventstream",
                ..Answer::stream(amazon_stream(&body))
            },
            _ => Answer::stream(body),
        };
        answers.push((name, true, answer));
    }
    for (name, body) in inputs(folder, "errors") {
        let status = name
            .split(['-', '.'])
            .next()
            .and_then(|part| part.parse().ok());
        answers.push((name, false, Answer::json(status.unwrap_or(400), body)));
    }
    let mut turn = requests.iter().cycle();
    let cases = answers.into_iter().filter_map(|(name, is_stream, answer)| {
        // A request that the format refuses would leave its answer unused.
        let (_, request) = turn.by_ref().find(|(name, _)| !name.starts_with("400"))?;
        let mut request: Value = serde_json::from_slice(request).ok()?;
        request["model"] = json!(model);
        request["stream"] = json!(is_stream);
        Some(Case::new(
            format!("{folder} {name}"),
            path,
            &request,
            answer,
        ))
    });
    cases.collect()
}

/// Returns calls of the endpoints that pass through.
pub fn passthrough() -> Vec<Case> {
    let usage = json!({"usage": {"prompt_tokens": 7, "total_tokens": 7}, "data": []});
    let ok = || Answer::json(200, usage.to_string().into_bytes());
    let error = |status| {
        let body = json!({"error": {"message": "no: key-of-openai", "type": "x"}});
        Answer::json(status, body.to_string().into_bytes())
    };
    let mut cases = Vec::new();
    for (path, body) in [
        (
            "/v1/embeddings",
            json!({"model": "openai/small", "input": "a"}),
        ),
        (
            "/v1/embeddings",
            json!({"model": "cohere/embed-v4.0", "input": ["a", "b"]}),
        ),
        (
            "/v1/embeddings",
            json!({"model": "anthropic/x", "input": "a"}),
        ),
        (
            "/v1/images/generations",
            json!({"model": "gpt-image-1", "prompt": "a cat"}),
        ),
        ("/v1/moderations", json!({"input": "hello"})),
        (
            "/v1/rerank",
            json!({"model": "cohere/rerank-v3.5", "query": "q", "documents": ["d"]}),
        ),
        ("/v1/completions", json!({"model": "only", "prompt": "a"})),
        (
            "/v1/audio/speech",
            json!({"model": "tts-1", "input": "a", "voice": "alloy"}),
        ),
        ("/v1/batches", json!({"input_file_id": "file-1"})),
        ("/v1/embeddings", json!({"model": 1})),
        ("/v1/embeddings", json!([])),
        ("/proxy/openai/responses/resp_1/cancel", json!({})),
        (
            "/proxy/openai/v1/chat/completions?x=1",
            json!({"model": "small"}),
        ),
        ("/proxy/nobody/x", json!({})),
        ("/proxy/openai/../admin", json!({})),
    ] {
        for answer in [
            ok(),
            error(401),
            error(429),
            Answer::failure("no_healthy_upstream"),
        ] {
            let name = format!("{path} {} {}", answer.status, answer.failure.unwrap_or(""));
            cases.push(Case::new(name, path, &body, answer));
        }
    }
    let stream =
        b"data: {\"choices\":[]}\n\ndata: {\"usage\":{\"prompt_tokens\":3}}\n\ndata: [DONE]\n\n";
    cases.push(Case::new(
        "a stream".to_owned(),
        "/v1/completions",
        &json!({"model": "only", "prompt": "a", "stream": true}),
        Answer::stream(stream.to_vec()),
    ));
    let form = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nopenai/whisper-1\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\n\r\nsound\r\n--b--\r\n";
    for path in ["/v1/audio/transcriptions", "/v1/audio/translations"] {
        cases.push(Case {
            content_type: "multipart/form-data; boundary=b",
            request: form.as_bytes().to_vec(),
            ..Case::new(format!("{path} form"), path, &json!({}), ok())
        });
    }
    for path in [
        "/v1/files",
        "/v1/files/file-1/content",
        "/v1/batches?limit=2",
    ] {
        cases.push(Case {
            method: "GET",
            request: Vec::new(),
            ..Case::new(format!("GET {path}"), path, &json!({}), ok())
        });
    }
    cases
}

/// Returns calls that Envoy, the provider, the gateway or a limit fails.
pub fn faults() -> Vec<Case> {
    let chat =
        |model: &str| json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]});
    let mut cases = Vec::new();
    for details in [
        "response_timeout",
        "no_healthy_upstream",
        "cluster_not_found",
        "upstream_reset_before_response_started{overflow}",
        "upstream_reset_before_response_started{connection_termination}",
        "upstream_reset_before_response_started{remote_connection_failure,delayed_connect_error:_111}",
    ] {
        for (path, body) in [
            ("/v1/chat/completions", chat("openai/small")),
            ("/v1/chat/completions", chat("chain")),
            ("/v1/messages", chat("openai/small")),
        ] {
            let name = format!("{path} {} {details}", body["model"]);
            cases.push(Case::new(name, path, &body, Answer::failure(details)));
        }
    }
    for (name, status, body) in [
        ("empty", 200, ""),
        ("cut", 200, "{\"choices\":[{"),
        ("no object", 200, "[]"),
        (
            "an error in a success",
            200,
            "{\"error\":{\"message\":\"overloaded\"}}",
        ),
        ("a page", 502, "<html>bad gateway</html>"),
        (
            "a key in it",
            401,
            "{\"error\":{\"message\":\"bad key key-of-openai\"}}",
        ),
    ] {
        let answer = Answer::json(status, body.as_bytes().to_vec());
        let (path, body) = ("/v1/chat/completions", chat("openai/small"));
        cases.push(Case::new(name.to_owned(), path, &body, answer));
    }
    for body in [
        chat("nobody/x"),
        chat("unknown"),
        chat("limited"),
        chat("spent"),
        json!({"model": "openai/small"}),
        json!("no object"),
        json!({"model": "openai/small", "messages": [], "stream": "yes"}),
    ] {
        let (path, answer) = ("/v1/chat/completions", Answer::json(200, b"{}".to_vec()));
        cases.push(Case::new(format!("refused {body}"), path, &body, answer));
    }
    cases
}

/// Returns the inputs of a folder of fixtures, by name.
fn inputs(format: &str, folder: &str) -> Vec<(String, Vec<u8>)> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../translate/fixtures")
        .join(format)
        .join(folder);
    let Ok(entries) = std::fs::read_dir(path) else {
        return Vec::new();
    };
    let mut inputs: Vec<(String, Vec<u8>)> = entries
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name()?.to_str()?.to_owned();
            let content = std::fs::read(&path).unwrap();
            name.contains(".in.").then_some((name, content))
        })
        .collect();
    inputs.sort();
    inputs
}

/// Encodes lines of `[kind, payload]` as Amazon's event stream.
fn amazon_stream(lines: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let Ok(Value::Object(message)) = serde_json::from_slice(line) else {
            continue;
        };
        for (kind, payload) in message {
            let headers = [(":message-type", "event"), (":event-type", kind.as_str())];
            let payload = payload.to_string();
            stream.extend(event_stream::encode(&headers, payload.as_bytes()));
        }
    }
    stream
}
