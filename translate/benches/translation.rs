//! Compares a translation with parsing and printing the same bytes with plain `serde_json`: `cargo
//! bench -p opentracy-translate`.
//!
//! Figures are ratios of one run; `docs/performance.md` has them.

use std::hint::black_box;

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use opentracy_translate::aws::event_stream;
use opentracy_translate::client::Api;
use opentracy_translate::exchange::{Origin, Target};
use opentracy_translate::format::{self, StreamTranslator};
use opentracy_translate::openai::dialect;
use opentracy_translate::openai::tap::Output;
use opentracy_translate::wire_format::Format;
use serde_json::{Value, json};

const FORMATS: [(Format, &str, &str); 4] = [
    (Format::ANTHROPIC, "anthropic", "claude-sonnet-4-5"),
    (Format::GEMINI, "gemini", "gemini-3-pro"),
    (
        Format::BEDROCK,
        "bedrock",
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
    ),
    (Format::COHERE, "cohere", "command-a-03-2025"),
];

const CHUNKS: usize = 1000;

/// Returns a conversation of about this many bytes: turns of prose, a tool and its results.
fn request(bytes: usize) -> Vec<u8> {
    let tool = json!({"type": "function", "function": {"name": "get_weather", "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}});
    let prose = "The quick brown fox jumps over the lazy dog, \"again\" and again.\n".repeat(6);
    let mut messages = vec![json!({"role": "system", "content": "Be brief."})];
    let mut length = 0;
    let mut number = 0;
    while length < bytes {
        let id = format!("call_{number}");
        let turns = [
            json!({"role": "user", "content": prose}),
            json!({"role": "assistant", "content": prose, "tool_calls": [{"id": id, "type": "function",
                "function": {"name": "get_weather", "arguments": "{\"city\":\"Paris\"}"}}]}),
            json!({"role": "tool", "tool_call_id": id, "content": prose}),
        ];
        length += turns
            .iter()
            .map(|turn| turn.to_string().len())
            .sum::<usize>();
        messages.extend(turns);
        number += 1;
    }
    let body = json!({"model": "m", "messages": messages, "tools": [tool], "temperature": 0.5, "max_tokens": 1000});
    body.to_string().into_bytes()
}

fn sse(events: &[Value]) -> Vec<u8> {
    events
        .iter()
        .flat_map(|event| {
            let kind = event["type"].as_str().unwrap_or("message");
            format!("event: {kind}\ndata: {event}\n\n").into_bytes()
        })
        .collect()
}

/// Returns a stream of a thousand pieces, as its provider sends it.
fn stream(format: Format) -> Vec<u8> {
    let text = " word and";
    let pieces = |piece: Value| std::iter::repeat_n(piece, CHUNKS);
    match format.name() {
        "anthropic" => sse(&[json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant",
                "model": "claude", "content": [], "usage": {"input_tokens": 12, "output_tokens": 1}}})]
            .into_iter()
            .chain(pieces(json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})))
            .chain([
                json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}),
                json!({"type": "message_stop"}),
            ])
            .collect::<Vec<_>>()),
        "gemini" => sse(&pieces(json!({"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}],
                "usageMetadata": {"promptTokenCount": 12, "totalTokenCount": 12}, "modelVersion": "gemini", "responseId": "r"}))
            .chain([json!({"candidates": [{"content": {"parts": [{"text": ""}]}, "finishReason": "STOP", "index": 0}], "responseId": "r"})])
            .collect::<Vec<_>>()),
        "cohere" => sse(&[json!({"type": "message-start", "id": "1", "delta": {"message": {"role": "assistant"}}})]
            .into_iter()
            .chain(pieces(json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": text}}}})))
            .chain([json!({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {"tokens": {"input_tokens": 1, "output_tokens": 2}}}})])
            .collect::<Vec<_>>()),
        _ => bedrock_payloads()
            .flat_map(|(kind, payload)| {
                let headers = [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")];
                event_stream::encode(&headers, payload.to_string().as_bytes())
            })
            .collect(),
    }
}

fn bedrock_payloads() -> impl Iterator<Item = (&'static str, Value)> {
    let piece =
        json!({"contentBlockIndex": 0, "delta": {"text": " word and"}, "p": "abcdefghijkl"});
    [("messageStart", json!({"role": "assistant"}))]
        .into_iter()
        .chain(std::iter::repeat_n(("contentBlockDelta", piece), CHUNKS))
        .chain([
            ("messageStop", json!({"stopReason": "end_turn"})),
            (
                "metadata",
                json!({"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}}),
            ),
        ])
}

/// Returns the JSON in a stream, one text per event.
fn payloads(format: Format, stream: &[u8]) -> Vec<Vec<u8>> {
    if format == Format::BEDROCK {
        return bedrock_payloads()
            .map(|(_, payload)| payload.to_string().into_bytes())
            .collect();
    }
    String::from_utf8_lossy(stream)
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| data.as_bytes().to_vec())
        .collect()
}

fn parse_and_print(json: &[u8]) -> Vec<u8> {
    let value: Value = serde_json::from_slice(json).unwrap_or_default();
    serde_json::to_vec(&value).unwrap_or_default()
}

fn requests(group: &mut BenchmarkGroup<'_, WallTime>, body: &[u8]) {
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("serde_json", |bencher| {
        bencher.iter(|| parse_and_print(black_box(body)));
    });
    for (format, name, model) in FORMATS {
        let target = Target {
            format,
            model,
            max_output_tokens: None,
            dialect: &dialect::OPENAI,
            auto_cache: false,
            serves_responses: false,
        };
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                format::translate_request(Api::CHAT_COMPLETIONS, black_box(body), &target)
            });
        });
    }
}

fn streams(criterion: &mut Criterion) {
    for (format, name, model) in FORMATS {
        let stream = stream(format);
        let payloads = payloads(format, &stream);
        let mut group = criterion.benchmark_group(format!("stream of {CHUNKS} chunks from {name}"));
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function("serde_json", |bencher| {
            bencher.iter(|| {
                payloads
                    .iter()
                    .map(|payload| parse_and_print(black_box(payload)).len())
                    .sum::<usize>()
            });
        });
        for &api in Api::ALL {
            let origin = Origin {
                api,
                format,
                is_native: false,
                provider: name,
                model,
                id: "call",
                created: 0,
                request: b"{}",
                own_answers: false,
            };
            group.bench_function(format!("to {}", api.name()), |bencher| {
                bencher.iter(|| {
                    let mut translator = StreamTranslator::new(&origin);
                    let mut out = Vec::new();
                    // The size in which bytes arrive from a socket.
                    for piece in black_box(&stream).chunks(1400) {
                        translator.push(piece, &mut out);
                    }
                    translator.finish(&mut out);
                    out.len()
                });
            });
        }
        group.finish();
    }
}

/// Returns a stream of a thousand pieces in a client's API.
fn client_stream(api: Api) -> Vec<u8> {
    let (format, provider, model) = FORMATS[0];
    let origin = Origin {
        api,
        format,
        is_native: false,
        provider,
        model,
        id: "call",
        created: 0,
        request: b"{}",
        own_answers: false,
    };
    let mut translator = StreamTranslator::new(&origin);
    let mut out = Vec::new();
    translator.push(&stream(format), &mut out);
    translator.finish(&mut out);
    out
}

/// Measures streams that are already in the client's API, as the gateway stage observes them.
fn taps(criterion: &mut Criterion) {
    for &api in Api::ALL {
        let stream = client_stream(api);
        let mut group = criterion.benchmark_group(format!("watched stream of {}", api.name()));
        group.throughput(Throughput::Bytes(stream.len() as u64));
        for size in [250, 1400, 16_000] {
            group.bench_function(format!("in pieces of {size} bytes"), |bencher| {
                bencher.iter(|| {
                    let mut tap = api.tap(true);
                    let mut extras = |_: &_| Vec::new();
                    let pieces = black_box(&stream).chunks(size);
                    let changed =
                        pieces.filter(|piece| tap.push(piece, &mut extras) != Output::Unchanged);
                    changed.count() + tap.finish(&mut extras).len()
                });
            });
        }
        let events: Vec<&[u8]> = events_of(&stream);
        group.bench_function("an event at a time", |bencher| {
            bencher.iter(|| {
                let mut tap = api.tap(true);
                let mut extras = |_: &_| Vec::new();
                let pieces = black_box(&events).iter();
                let changed =
                    pieces.filter(|piece| tap.push(piece, &mut extras) != Output::Unchanged);
                changed.count() + tap.finish(&mut extras).len()
            });
        });
        group.finish();
    }
}

/// Splits a stream after each event.
fn events_of(stream: &[u8]) -> Vec<&[u8]> {
    let mut events = Vec::new();
    let mut rest = stream;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\n\n") {
        let (event, after) = rest.split_at(end + 2);
        events.push(event);
        rest = after;
    }
    events
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (size, bytes) in [("2 KB", 2_000), ("200 KB", 200_000)] {
        let mut group = criterion.benchmark_group(format!("request of {size}"));
        requests(&mut group, &request(bytes));
        group.finish();
    }
    streams(&mut criterion);
    taps(&mut criterion);
    criterion.final_summary();
}
