//! The benchmark's providers: canned answers, written as fast as possible.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use opentracy_translate::client::Api;
use opentracy_translate::wire_format::Format;
use serde_json::json;

use crate::bench::answers::{Answers, format_of};

/// Pause between two chunks, so that each is sent separately, like a model's tokens.
const PAUSE: Duration = Duration::from_micros(100);

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

/// Serves every format until the process ends.
pub fn start() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let answers: HashMap<Format, Answers> = Format::ALL
        .iter()
        .map(|format| (*format, Answers::of(*format)))
        .collect();
    let answers = Arc::new(answers);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answers = Arc::clone(&answers);
            // An error means that the client closed the connection.
            std::thread::spawn(move || serve(stream, &answers));
        }
    });
    Ok(address)
}

fn serve(stream: TcpStream, answers: &HashMap<Format, Answers>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let answers = &answers[&format_of(&line)];
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
        let is_stream =
            is_stream_by_path || body.windows(13).any(|window| window == b"\"stream\":true");
        let writer = reader.get_mut();
        if is_stream {
            send(writer, &answers.stream)?;
        } else {
            writer.write_all(&answers.whole)?;
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
