//! One function for each parser of bytes from outside. None may panic, whatever it is given.
//!
//! `cargo +nightly fuzz run stream --fuzz-dir translate/fuzz` runs one until it is stopped; `translate/tests/fuzz.rs` runs all of
//! them for a while on the stable compiler.

use opentracy_translate::format::{self, StreamTranslator, Target};
use opentracy_translate::openai::aggregate;
use opentracy_translate::openai::dialect;
use opentracy_translate::openai::envelope::Envelope;
use opentracy_translate::openai::response;
use opentracy_translate::openai::tap::{Output, StreamTap};
use opentracy_translate::provider::Format;
use opentracy_translate::{model, redact};

const FORMATS: [Format; 3] = [Format::OpenAi, Format::Anthropic, Format::Gemini];

/// A client's body.
pub fn request(data: &[u8]) {
    if let Ok(envelope) = Envelope::parse(data) {
        envelope.last_user_text();
        envelope.metadata();
        model::ModelId::parse(&envelope.model);
    }
    for format in FORMATS {
        let target = Target {
            format,
            model: "claude-sonnet-4-5",
            max_output_tokens: None,
            dialect: &dialect::OPENAI,
        };
        if let Ok(format::Outgoing {
            body: Some(body), ..
        }) = format::translate_request(data, &target)
        {
            is_json(&body);
        }
    }
}

/// A provider's whole answer, good or bad.
pub fn reply(data: &[u8]) {
    response::summarize(data);
    for format in FORMATS {
        if let Ok(Some(body)) = format::translate_response(format, data, 0) {
            is_json(&body);
        }
        for status in [400, 401, 404, 429, 500, 529] {
            is_json(&format::translate_error(format, "provider", status, data).to_json());
        }
    }
}

/// A provider's stream. The first byte says where it is cut; the cut must make no difference.
pub fn stream(data: &[u8]) {
    let Some((&cut, events)) = data.split_first() else {
        return;
    };
    let (head, tail) = events.split_at(usize::from(cut) * events.len() / 256);
    for format in FORMATS {
        assert_eq!(
            translated(format, &[head, tail]),
            translated(format, &[events])
        );
    }
}

fn translated(format: Format, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let mut translator = StreamTranslator::new(format, "provider", 0);
    let mut out = Vec::new();
    for piece in pieces {
        translator.push(piece, &mut out);
    }
    translator.finish(&mut out);
    if translator.error().is_some() && !translator.has_begun() {
        out.clear();
    }
    (out, translator.error().is_some())
}

/// A stream in OpenAI's format on its way to the client.
pub fn chunks(data: &[u8]) {
    let Some((&cut, events)) = data.split_first() else {
        return;
    };
    let (head, tail) = events.split_at(usize::from(cut) * events.len() / 256);
    assert_eq!(tapped(&[head, tail]), tapped(&[events]));
    aggregate::from_sse(events);
}

/// What the gateway stage makes of a stream in OpenAI's format that comes in these pieces.
pub fn tapped(pieces: &[&[u8]]) -> Vec<u8> {
    let mut tap = StreamTap::new(true);
    let mut extras = |_: &_| br#""_cost":null"#.to_vec();
    let mut out = Vec::new();
    for piece in pieces {
        match tap.push(piece, &mut extras) {
            Output::Unchanged => out.extend_from_slice(piece),
            Output::Replaced(bytes) => out.extend(bytes),
        }
    }
    out.extend(tap.finish(&mut extras));
    out
}

/// Text to be masked.
pub fn text(data: &[u8]) {
    redact::mask_text(&String::from_utf8_lossy(data));
    redact::mask_secrets(&String::from_utf8_lossy(data));
    redact::mask_body(data);
}

/// What a client may write that no JSON type can hold, such as `1e999`, passes through.
fn is_json(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).expect("UTF-8");
    if let Err(error) = serde_json::from_str::<&serde_json::value::RawValue>(text) {
        panic!("not JSON, {error}: {text}");
    }
}
