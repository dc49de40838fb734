//! The providers of the benchmark: canned answers, as fast as they can be written.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

pub const CHUNKS: usize = 100;
/// Between two chunks, so that each travels alone, as a model's tokens do.
const PAUSE: Duration = Duration::from_micros(100);

/// A request of about 1 KB.
pub fn request(model: &str, stream: bool) -> Vec<u8> {
    let words = "The quick brown fox jumps over the lazy dog. ".repeat(9);
    let mut body = json!({
        "model": model,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant. Answer briefly."},
            {"role": "user", "content": words},
            {"role": "assistant", "content": "That is a pangram."},
            {"role": "user", "content": words},
        ],
        "temperature": 0.7,
        "max_tokens": 256,
    });
    if stream {
        body["stream"] = true.into();
    }
    body.to_string().into_bytes()
}

struct Answers {
    openai: Vec<u8>,
    anthropic: Vec<u8>,
    openai_stream: Vec<Vec<u8>>,
    anthropic_stream: Vec<Vec<u8>>,
}

/// Serves both formats until the process ends.
pub fn start() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let answers = Arc::new(Answers::new());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answers = Arc::clone(&answers);
            // An error is the end of a connection.
            std::thread::spawn(move || serve(stream, &answers));
        }
    });
    Ok(address)
}

fn serve(stream: TcpStream, answers: &Answers) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let is_anthropic = line.contains("/v1/messages");
        let mut length = 0;
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
        let is_stream = body.windows(13).any(|window| window == b"\"stream\":true");
        let writer = reader.get_mut();
        match (is_stream, is_anthropic) {
            (false, false) => writer.write_all(&answers.openai)?,
            (false, true) => writer.write_all(&answers.anthropic)?,
            (true, false) => send(writer, &answers.openai_stream)?,
            (true, true) => send(writer, &answers.anthropic_stream)?,
        }
    }
}

fn send(writer: &mut TcpStream, chunks: &[Vec<u8>]) -> std::io::Result<()> {
    for chunk in chunks {
        writer.write_all(chunk)?;
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

impl Answers {
    fn new() -> Self {
        let text = "A pangram holds every letter of the alphabet at least once. ".repeat(10);
        let openai = json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "gpt-4o-mini",
            "choices": [{
                "index": 0, "logprobs": null, "finish_reason": "stop",
                "message": {"role": "assistant", "content": text, "refusal": null},
            }],
            "usage": {"prompt_tokens": 210, "completion_tokens": 130, "total_tokens": 340},
        });
        let anthropic = json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6",
            "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": 210, "output_tokens": 130},
        });
        Self {
            openai: whole(&openai.to_string()),
            anthropic: whole(&anthropic.to_string()),
            openai_stream: openai_stream(),
            anthropic_stream: anthropic_stream(),
        }
    }
}

fn openai_stream() -> Vec<Vec<u8>> {
    let event = |delta: serde_json::Value, finish_reason: Option<&str>| {
        let data = json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "gpt-4o-mini",
            "service_tier": "default", "system_fingerprint": "fp_1",
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}],
        });
        format!("data: {data}\n\n")
    };
    let mut events = vec![event(json!({"role": "assistant", "content": ""}), None)];
    events.extend((0..CHUNKS - 2).map(|_| event(json!({"content": " letter"}), None)));
    events.push(event(json!({}), Some("stop")) + "data: [DONE]\n\n");
    streamed(&events)
}

fn anthropic_stream() -> Vec<Vec<u8>> {
    let event = |data: serde_json::Value| {
        format!(
            "event: {}\ndata: {data}\n\n",
            data["type"].as_str().unwrap_or_default()
        )
    };
    let start = event(json!({"type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 210, "output_tokens": 1},
    }})) + &event(
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    );
    let mut events = vec![start];
    events.extend((0..CHUNKS - 2).map(|_| {
        event(json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " letter"}}))
    }));
    events.push(
        event(json!({"type": "content_block_stop", "index": 0}))
            + &event(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 130}}))
            + &event(json!({"type": "message_stop"})),
    );
    streamed(&events)
}

fn whole(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The head of a chunked answer, each event as a chunk of its own, and the end.
fn streamed(events: &[String]) -> Vec<Vec<u8>> {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut chunks = vec![head.as_bytes().to_vec()];
    chunks.extend(
        events
            .iter()
            .map(|event| format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()),
    );
    chunks.push(b"0\r\n\r\n".to_vec());
    chunks
}
