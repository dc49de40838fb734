//! The benchmark's providers: canned answers, written as fast as possible.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use opentracy_translate::client::Api;
use opentracy_translate::wire_format::Format;
use serde_json::json;

use crate::bench::answers::{CannedAnswers, format_of};

/// The shortest pause between two chunks, so that each is sent separately, like a model's tokens.
const SHORTEST_PAUSE: Duration = Duration::from_micros(100);
/// The pause between two chunks for each concurrent stream. Together they send 25,000 chunks a
/// second at most, which an Envoy handles one by one. If it can't keep up, it reads several chunks
/// at once, and a chunk seems to cost less.
const PAUSE_PER_STREAM: Duration = Duration::from_micros(40);

/// The model in requests through a proxy that knows no model names of this product.
pub const PLAIN_MODEL: &str = "gpt-4o-mini";

const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\nnot found";

/// Returns a request of about this size, in KB.
pub fn request(api: Api, model: &str, stream: bool, kb: usize) -> Vec<u8> {
    let words = "The quick brown fox jumps over the lazy dog. ".repeat(9 * kb);
    let turns = json!([
        {"role": "user", "content": words},
        {"role": "assistant", "content": "That is a pangram."},
        {"role": "user", "content": words},
    ]);
    let system = "You are a helpful assistant. Answer briefly.";
    let mut body = json!({"model": model, "temperature": 0.7});
    match api.name() {
        "messages" => {
            body["system"] = system.into();
            body["messages"] = turns;
            body["max_tokens"] = 256.into();
        }
        "responses" => {
            body["instructions"] = system.into();
            body["input"] = turns;
            body["max_output_tokens"] = 256.into();
        }
        _ => {
            let mut messages = vec![json!({"role": "system", "content": system})];
            messages.extend(turns.as_array().into_iter().flatten().cloned());
            body["messages"] = messages.into();
            body["max_tokens"] = 256.into();
        }
    }
    if stream {
        body["stream"] = true.into();
    }
    body.to_string().into_bytes()
}

/// Returns a whole request. Each line of `headers` ends in CR LF.
pub fn with_head(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let host = match headers.starts_with("host:") {
        true => "",
        false => "host: localhost\r\n",
    };
    let head = format!(
        "POST {path} HTTP/1.1\r\n{host}{headers}content-type: application/json\r\n\
         authorization: Bearer x\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// The providers, which run until this process ends.
pub struct Providers {
    pub address: SocketAddr,
    pause_micros: Arc<AtomicU64>,
}

impl Providers {
    /// Sets the pause between the chunks of a stream, for this number of concurrent streams.
    pub fn pace(&self, streams: u16) {
        let pause = pause(streams).as_micros();
        let pause = u64::try_from(pause).unwrap_or(u64::MAX);
        self.pause_micros.store(pause, Ordering::Relaxed);
    }
}

fn pause(streams: u16) -> Duration {
    SHORTEST_PAUSE.max(PAUSE_PER_STREAM * u32::from(streams))
}

/// Serves every format until the process ends, on any free port if this one is 0.
pub fn start(port: u16) -> Result<Providers> {
    let listener = TcpListener::bind(("127.0.0.1", port))
        .with_context(|| format!("the providers can't listen on port {port}"))?;
    let address = listener.local_addr()?;
    let answers: HashMap<Format, CannedAnswers> = Format::ALL
        .iter()
        .map(|format| (*format, CannedAnswers::of(*format)))
        .collect();
    let answers = Arc::new(answers);
    let pause_micros = Arc::new(AtomicU64::new(0));
    let providers = Providers {
        address,
        pause_micros: Arc::clone(&pause_micros),
    };
    providers.pace(1);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answers = Arc::clone(&answers);
            let pause_micros = Arc::clone(&pause_micros);
            // An error means that the client closed the connection.
            std::thread::spawn(move || serve(stream, &answers, &pause_micros));
        }
    });
    Ok(providers)
}

fn serve(
    stream: TcpStream,
    answers: &HashMap<Format, CannedAnswers>,
    pause_micros: &AtomicU64,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let answers = &answers[&format_of(&line)];
        let is_known = line.contains("/v") || line.contains("/model/");
        let is_stream_by_path = line.contains("stream");
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
        let text = String::from_utf8_lossy(&body);
        let is_stream = is_stream_by_path
            || text.contains("\"stream\":true")
            || text.contains("\"stream\": true");
        let writer = reader.get_mut();
        if !is_known {
            writer.write_all(NOT_FOUND)?;
        } else if is_stream {
            let pause = Duration::from_micros(pause_micros.load(Ordering::Relaxed));
            send(writer, &answers.stream, pause)?;
        } else {
            writer.write_all(&answers.whole)?;
        }
    }
}

fn send(writer: &mut TcpStream, chunks: &[Vec<u8>], pause: Duration) -> std::io::Result<()> {
    for chunk in chunks {
        writer.write_all(chunk)?;
        std::thread::sleep(pause);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::pause;

    #[test]
    fn more_streams_send_chunks_at_the_same_rate_together() {
        assert_eq!(pause(1), Duration::from_micros(100));
        for streams in [32, 400] {
            let per_second = f64::from(streams) / pause(streams).as_secs_f64();
            assert!((per_second - 25_000.0).abs() < 1.0, "{per_second}");
        }
    }
}
