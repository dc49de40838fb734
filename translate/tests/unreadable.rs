//! Tests that an event that can't be read is an error of the provider, in every stream and at every
//! position.

mod fixtures;

#[path = "../fuzz/targets.rs"]
#[allow(dead_code)]
mod targets;

use opentracy_translate::aws::event_stream;
use opentracy_translate::client::Api;
use opentracy_translate::error::ApiError;
use opentracy_translate::exchange::Origin;
use opentracy_translate::format::StreamTranslator;
use opentracy_translate::sse;
use opentracy_translate::wire_format::Format;

use crate::fixtures::{formats, origin, streams};
use crate::targets::tapped;

const GARBAGE: [&[u8]; 4] = [
    b"data: {\"choices\":[{\"delta\":{\"conte\n\n",
    b"event: x\ndata: <html>Bad gateway</html>\n\n",
    b"data: {\"type\":\"ping\"}{\"type\":\"ping\"}\n\n",
    b"data: {\"type\":\"\xff\"}\n\n",
];
/// Events that belong to no API and harm none.
const HARMLESS: [&[u8]; 4] = [
    b": keep-alive\n\n",
    b"data:\n\n",
    b"event: ping\ndata: {\"type\":\"ping\"}\n\n",
    b"data: {\"type\":\"to.come\",\"a\":[1]}\n\n",
];

/// A translator and the tap behind it, as the stages have them.
fn through(origin: &Origin<'_>, pieces: &[&[u8]]) -> (Vec<u8>, Option<ApiError>) {
    let mut translator = StreamTranslator::new(origin);
    let mut translated = Vec::new();
    for piece in pieces {
        translator.push(piece, &mut translated);
    }
    translator.finish(&mut translated);
    if !translator.has_begun() {
        return (Vec::new(), translator.error().cloned());
    }
    let (out, error) = tapped(origin.api, &[&translated]);
    (out, translator.error().cloned().or(error))
}

fn events_of(format: Format, mut stream: &[u8]) -> Vec<Vec<u8>> {
    let mut events = Vec::new();
    if format == Format::BEDROCK {
        while let Some(length) = stream.first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let (event, rest) = stream.split_at(length.min(stream.len()));
            events.push(event.to_vec());
            stream = rest;
        }
        return events;
    }
    let mut parser = sse::Parser::default();
    let pushed = parser.push(stream, |event| events.push(event.raw.to_vec()));
    pushed.unwrap();
    events
}

fn in_format(format: Format, event: &[u8]) -> Vec<u8> {
    if format != Format::BEDROCK {
        return event.to_vec();
    }
    let headers = [
        (":event-type", "contentBlockDelta"),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ];
    event_stream::encode(&headers, b"{\"delta\":{\"te")
}

fn check_error(what: &str, out: &[u8], error: Option<&ApiError>) {
    let out = String::from_utf8_lossy(out);
    let error = error.unwrap_or_else(|| panic!("{what}: no error\n{out}"));
    let code = error.code.as_deref();
    assert_eq!(
        (error.status, code),
        (502, Some("invalid_upstream_response")),
        "{what}: {error}"
    );
    let last = out.trim_end().rsplit("\n\n").next().unwrap_or_default();
    let is_last = last.contains("can't be read") && out.matches("can't be read").count() < 3;
    assert!(out.is_empty() || is_last, "{what}: {out}");
}

#[test]
fn garbage_between_any_two_events_is_an_error() {
    for (format, name) in formats() {
        for &api in Api::ALL {
            let origin = origin(api, format);
            for input in streams(name) {
                if through(&origin, &[&input.content]).1.is_some() {
                    continue;
                }
                let events = events_of(format, &input.content);
                for at in 0..events.len() {
                    let (before, after) = (events[..at].concat(), events[at..].concat());
                    if through(&origin, &[&before]).1.is_none() {
                        // It was complete before its end.
                        continue;
                    }
                    let garbage = in_format(format, GARBAGE[at % GARBAGE.len()]);
                    let what = format!("{name}/{} for {} at {at}", input.name, api.name());
                    let (out, error) = through(&origin, &[&before, &garbage, &after]);
                    check_error(&what, &out, error.as_ref());
                }
            }
        }
    }
}

#[test]
fn garbage_in_a_stream_that_passes_is_an_error_however_it_is_cut() {
    for (format, name) in formats() {
        for &api in Api::ALL {
            for input in streams(name).into_iter().take(4) {
                let (stream, error) = through(&origin(api, format), &[&input.content]);
                if error.is_some() {
                    continue;
                }
                let events = events_of(Format::OPENAI, &stream);
                for at in 0..events.len() {
                    let (before, after) = (events[..at].concat(), events[at..].concat());
                    if tapped(api, &[&before]).1.is_none() {
                        continue;
                    }
                    for garbage in GARBAGE {
                        let all = [&before, garbage, &after].concat();
                        let what = format!("{name}/{} of {} at {at}", input.name, api.name());
                        let (whole, error) = tapped(api, &[&all]);
                        check_error(&what, &whole, error.as_ref());
                        let pieces: Vec<&[u8]> = all.chunks(7).collect();
                        assert_eq!(tapped(api, &pieces).0, whole, "{what}");
                        assert_eq!(tapped(api, &[&before, garbage, &after]).0, whole, "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_no_answer_but_can_be_read_harms_no_stream() {
    for (format, name) in formats().filter(|(format, _)| *format != Format::BEDROCK) {
        for &api in Api::ALL {
            let origin = origin(api, format);
            for input in streams(name) {
                let (stream, error) = through(&origin, &[&input.content]);
                if error.is_some() {
                    continue;
                }
                let events = events_of(format, &input.content);
                // A stream of OpenAI's must begin with a chunk.
                for at in 1..events.len() {
                    let harmless = HARMLESS[at % HARMLESS.len()];
                    let (before, after) = (events[..at].concat(), events[at..].concat());
                    let (_, error) = through(&origin, &[&before, harmless, &after]);
                    let what = format!("{name}/{} for {} at {at}", input.name, api.name());
                    assert_eq!(error, None, "{what}");
                }
                for harmless in HARMLESS {
                    let events = events_of(Format::OPENAI, &stream);
                    let all = events.join(harmless);
                    assert_eq!(tapped(api, &[&all]).1, None, "{name}/{}", input.name);
                }
            }
        }
    }
}

#[test]
fn an_event_that_the_end_cuts_is_an_incomplete_stream() {
    for &api in Api::ALL {
        for stream in ["data: {\"type\":\"x\"}\n\ndata: {\"ty", "data: {\"ty"] {
            let (out, error) = tapped(api, &[stream.as_bytes()]);
            let out = String::from_utf8(out).unwrap();
            assert_eq!(error.unwrap().code.as_deref(), Some("incomplete_stream"));
            assert!(!out.contains("{\"ty\n"), "{out}");
        }
    }
}
