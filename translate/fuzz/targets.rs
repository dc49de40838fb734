//! One function for each parser of untrusted bytes. None may panic on any input.
//!
//! `cargo +nightly fuzz run stream --fuzz-dir translate/fuzz` runs one until it is stopped;
//! `translate/tests/fuzz.rs` runs all of them for a while on the stable compiler.

use opentracy_translate::client::Api;
use opentracy_translate::client::messages::count;
use opentracy_translate::error::ApiError;
use opentracy_translate::exchange::{Origin, Target};
use opentracy_translate::format::{self, StreamTranslator};
use opentracy_translate::openai::dialect;
use opentracy_translate::openai::envelope::Envelope;
use opentracy_translate::openai::tap::Output;
use opentracy_translate::wire_format::Format;
use opentracy_translate::{model, redact};

fn origin(api: Api, format: Format, is_native: bool) -> Origin<'static> {
    Origin {
        api,
        format,
        is_native,
        provider: "provider",
        model: "claude-sonnet-4-5",
        id: "call",
        created: 0,
        request: b"{}",
        own_answers: false,
    }
}

/// Runs the parsers of a client's body.
pub fn request(data: &[u8]) {
    for &api in Api::ALL {
        if let Ok(envelope) = Envelope::parse(api, data) {
            envelope.last_user_text();
            envelope.metadata();
            model::ModelId::parse(&envelope.model);
        }
        for &format in Format::ALL {
            for model in ["claude-sonnet-4-5", "anthropic.claude-opus-5-v1:0", "x"] {
                let target = Target {
                    format,
                    model,
                    max_output_tokens: None,
                    dialect: &dialect::OPENAI,
                    auto_cache: true,
                    serves_responses: true,
                };
                if let Ok(opentracy_translate::exchange::Outgoing {
                    body: Some(body), ..
                }) = format::translate_request(api, data, &target)
                {
                    is_json(&body);
                }
            }
        }
    }
    count::estimate(data);
}

/// Runs the parsers of a provider's whole answer, good or bad.
pub fn reply(data: &[u8]) {
    for &api in Api::ALL {
        api.summarize(data);
        for &format in Format::ALL {
            let origin = origin(api, format, false);
            if let Ok(Some(body)) = format::translate_response(data, &origin) {
                is_json(&body);
            }
        }
    }
    for &format in Format::ALL {
        for status in [400, 401, 404, 429, 500, 529] {
            let error = format::translate_error(format, "provider", status, data);
            Api::ALL
                .iter()
                .for_each(|api| is_json(&api.error_json(&error, &[])));
        }
    }
}

/// Runs the parsers of a provider's stream. The first byte determines where it is split; the split
/// must make no difference.
pub fn stream(data: &[u8]) {
    let Some((&cut, events)) = data.split_first() else {
        return;
    };
    let (head, tail) = events.split_at(usize::from(cut) * events.len() / 256);
    for &api in Api::ALL {
        let formats = Format::ALL.iter().copied();
        for (format, is_native) in formats
            .map(|format| (format, false))
            .chain([(Format::OPENAI, true)])
        {
            let origin = origin(api, format, is_native);
            assert_eq!(
                translated(&origin, &[head, tail]),
                translated(&origin, &[events])
            );
        }
    }
}

fn translated(origin: &Origin<'_>, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let mut translator = StreamTranslator::new(origin);
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

/// Runs the parsers of a stream in the client's API.
pub fn chunks(data: &[u8]) {
    let Some((&cut, events)) = data.split_first() else {
        return;
    };
    let (head, tail) = events.split_at(usize::from(cut) * events.len() / 256);
    for &api in Api::ALL {
        assert_eq!(tapped(api, &[head, tail]), tapped(api, &[events]));
        api.aggregate(events);
    }
}

/// Returns the gateway stage's output for a stream in a client's API that arrives in these pieces,
/// and the error that ended it.
pub fn tapped(api: Api, pieces: &[&[u8]]) -> (Vec<u8>, Option<ApiError>) {
    let mut tap = api.tap(true);
    let mut extras = |_: &_| br#""_cost":null"#.to_vec();
    let mut out = Vec::new();
    for piece in pieces {
        match tap.push(piece, &mut extras) {
            Output::Unchanged => out.extend_from_slice(piece),
            Output::Replaced(bytes) => out.extend(bytes),
        }
    }
    out.extend(tap.finish(&mut extras));
    (out, tap.error().cloned())
}

/// Masks a text.
pub fn text(data: &[u8]) {
    let redactor = redact::Redactor::default();
    redactor.mask_text(&String::from_utf8_lossy(data));
    redactor.mask_body(data, 1 << 20);
    redactor.mask_body(data, data.len() / 2);
    let keys = redact::KeyMask::new(["sk-abcdefghijklmnop1234567890"]);
    keys.mask_body(data);
}

/// Checks that a body is JSON. Numbers that no JSON type can hold, such as `1e999`, pass through.
fn is_json(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).expect("UTF-8");
    if let Err(error) = serde_json::from_str::<&serde_json::value::RawValue>(text) {
        panic!("not JSON, {error}: {text}");
    }
}
