//! Canned answers of the benchmark's providers: the same text in each format.

use opentracy_translate::aws::event_stream;
use opentracy_translate::wire_format::Format;
use serde_json::{Value, json};

pub const CHUNKS: usize = 100;
const WORD: &str = " letter";

/// A provider's answer as bytes to write.
pub struct CannedAnswers {
    pub whole: Vec<u8>,
    /// The chunks of the stream.
    pub stream: Vec<Vec<u8>>,
}

/// Returns the format of a request, by its path.
pub fn format_of(path: &str) -> Format {
    if path.contains("/v1/messages") {
        Format::ANTHROPIC
    } else if path.contains("enerateContent") {
        Format::GEMINI
    } else if path.contains("/converse") {
        Format::BEDROCK
    } else if path.contains("/v2/chat") {
        Format::COHERE
    } else {
        Format::OPENAI
    }
}

impl CannedAnswers {
    pub fn of(format: Format) -> Self {
        let text = "A pangram holds every letter of the alphabet at least once. ".repeat(10);
        let (whole, events) = match format.name() {
            "anthropic" => anthropic(&text),
            "gemini" | "vertex" => gemini(&text),
            "bedrock" => bedrock(&text),
            "cohere" => cohere(&text),
            _ => openai(&text),
        };
        let kind = if format == Format::BEDROCK {
            "application/vnd.amazon.eventstream"
        } else {
            "text/event-stream"
        };
        Self {
            whole: reply(&whole.to_string()),
            stream: chunked(kind, &events),
        }
    }
}

/// Returns a stream's first event, one event per word, and its end.
fn events(first: Vec<u8>, word: &[u8], end: Vec<u8>) -> Vec<Vec<u8>> {
    let mut events = vec![first];
    events.extend(std::iter::repeat_n(word.to_vec(), CHUNKS - 2));
    events.push(end);
    events
}

fn sse(data: &Value) -> Vec<u8> {
    match data["type"].as_str() {
        Some(kind) => format!("event: {kind}\ndata: {data}\n\n").into_bytes(),
        None => format!("data: {data}\n\n").into_bytes(),
    }
}

fn openai(text: &str) -> (Value, Vec<Vec<u8>>) {
    let whole = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "gpt-4o-mini",
        "choices": [{
            "index": 0, "logprobs": null, "finish_reason": "stop",
            "message": {"role": "assistant", "content": text, "refusal": null},
        }],
        "usage": {"prompt_tokens": 210, "completion_tokens": 130, "total_tokens": 340},
    });
    let event = |delta: Value, finish_reason: Option<&str>| {
        sse(&json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "gpt-4o-mini",
            "service_tier": "default", "system_fingerprint": "fp_1",
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}],
        }))
    };
    let end = [event(json!({}), Some("stop")), b"data: [DONE]\n\n".to_vec()].concat();
    let first = event(json!({"role": "assistant", "content": ""}), None);
    let word = event(json!({"content": WORD}), None);
    (whole, events(first, &word, end))
}

fn anthropic(text: &str) -> (Value, Vec<Vec<u8>>) {
    let whole = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6",
        "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 210, "output_tokens": 130},
    });
    let first = [
        sse(&json!({"type": "message_start", "message": {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6", "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 210, "output_tokens": 1},
        }})),
        sse(
            &json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        ),
    ];
    let word = sse(
        &json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": WORD}}),
    );
    let end = [
        sse(&json!({"type": "content_block_stop", "index": 0})),
        sse(
            &json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 130}}),
        ),
        sse(&json!({"type": "message_stop"})),
    ];
    (whole, events(first.concat(), &word, end.concat()))
}

fn gemini(text: &str) -> (Value, Vec<Vec<u8>>) {
    let answer = |text: &str, finish_reason: Option<&str>| {
        let mut candidate =
            json!({"content": {"role": "model", "parts": [{"text": text}]}, "index": 0});
        if let Some(reason) = finish_reason {
            candidate["finishReason"] = reason.into();
        }
        json!({"candidates": [candidate], "modelVersion": "gemini-2.5-pro", "responseId": "r1",
            "usageMetadata": {"promptTokenCount": 210, "candidatesTokenCount": 130, "totalTokenCount": 340}})
    };
    let word = sse(&answer(WORD, None));
    let stream = events(word.clone(), &word, sse(&answer("", Some("STOP"))));
    (answer(text, Some("STOP")), stream)
}

fn bedrock(text: &str) -> (Value, Vec<Vec<u8>>) {
    let usage = json!({"inputTokens": 210, "outputTokens": 130, "totalTokens": 340});
    let whole = json!({
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 1},
    });
    let event = |kind: &str, payload: Value| {
        let headers = [
            (":event-type", kind),
            (":content-type", "application/json"),
            (":message-type", "event"),
        ];
        event_stream::encode(&headers, payload.to_string().as_bytes())
    };
    let first = event(
        "messageStart",
        json!({"role": "assistant", "p": "abcdefgh"}),
    );
    let word = event(
        "contentBlockDelta",
        json!({"contentBlockIndex": 0, "delta": {"text": WORD}, "p": "abcdefgh"}),
    );
    let end = [
        event("contentBlockStop", json!({"contentBlockIndex": 0})),
        event("messageStop", json!({"stopReason": "end_turn"})),
        event(
            "metadata",
            json!({"usage": usage, "metrics": {"latencyMs": 1}}),
        ),
    ];
    (whole, events(first, &word, end.concat()))
}

fn cohere(text: &str) -> (Value, Vec<Vec<u8>>) {
    let usage = json!({"tokens": {"input_tokens": 210, "output_tokens": 130}});
    let whole = json!({"id": "1", "finish_reason": "COMPLETE", "usage": usage,
        "message": {"role": "assistant", "content": [{"type": "text", "text": text}]}});
    let first = sse(
        &json!({"type": "message-start", "id": "1", "delta": {"message": {"role": "assistant", "content": []}}}),
    );
    let word = sse(
        &json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": WORD}}}}),
    );
    let end = sse(
        &json!({"type": "message-end", "id": "1", "delta": {"finish_reason": "COMPLETE", "usage": usage}}),
    );
    (whole, events(first, &word, end))
}

fn reply(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Returns the head of a chunked answer, each event as a separate chunk, and the end.
fn chunked(kind: &str, events: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n");
    let mut chunks = vec![head.into_bytes()];
    chunks.extend(events.iter().map(|event| {
        let size = format!("{:x}\r\n", event.len()).into_bytes();
        [size.as_slice(), event, b"\r\n"].concat()
    }));
    chunks.push(b"0\r\n\r\n".to_vec());
    chunks
}
