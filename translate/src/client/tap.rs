//! Observes a stream on its way to the client: reads usage and errors, and adds the gateway's
//! members.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;

use crate::error::ApiError;
use crate::json;
use crate::openai;
use crate::openai::response::Summary;
use crate::openai::tap::{MakeExtras, Output, StreamTap};
use crate::redact::KeyMask;
use crate::sse;
use crate::stream_error::{PROVIDER, StreamError};

// A search takes longer to set up than to go through a chunk.
static ERROR: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"error\""));
pub(super) static FAILED: LazyLock<Finder<'_>> =
    LazyLock::new(|| Finder::new(b"\"response.failed\""));

/// Observes a stream of any API.
#[derive(Debug)]
pub enum Tap {
    /// Chat Completions' chunks.
    Chunks(StreamTap),
    /// Events that name their kind.
    Events(EventTap),
}

impl Tap {
    pub(crate) fn events(events: Box<dyn TapEvents>) -> Self {
        Self::Events(EventTap {
            events,
            parser: sse::Parser::default(),
            observed: Observed::default(),
            error: None,
            keys: KeyMask::default(),
        })
    }

    /// Masks a provider's credentials in its errors.
    #[must_use]
    pub fn masking(self, keys: KeyMask) -> Self {
        match self {
            Self::Chunks(tap) => Self::Chunks(tap.masking(keys)),
            Self::Events(tap) => Self::Events(EventTap { keys, ..tap }),
        }
    }

    /// Returns the summary of the answer so far.
    pub fn summary(&self) -> &Summary {
        match self {
            Self::Chunks(tap) => tap.summary(),
            Self::Events(tap) => &tap.observed.summary,
        }
    }

    /// Returns the error that ended the stream, if any.
    pub fn error(&self) -> Option<&ApiError> {
        match self {
            Self::Chunks(tap) => tap.error(),
            Self::Events(tap) => tap.error.as_ref(),
        }
    }

    /// Returns true once the stream is complete or has failed.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Chunks(tap) => tap.is_over(),
            Self::Events(tap) => tap.is_over(),
        }
    }

    /// Consumes the next bytes. `extras` returns the members to add to the last event, once its
    /// usage is known.
    pub fn push(&mut self, bytes: &[u8], extras: &mut MakeExtras<'_>) -> Output {
        match self {
            Self::Chunks(tap) => tap.push(bytes, extras),
            Self::Events(tap) => tap.push(bytes, extras),
        }
    }

    /// Consumes bytes of a translator, whose events can be read.
    pub fn push_translated(&mut self, bytes: &[u8], extras: &mut MakeExtras<'_>) -> Output {
        match self {
            Self::Chunks(tap) => tap.push_translated(bytes, extras),
            Self::Events(tap) => tap.push_translated(bytes, extras),
        }
    }

    /// Ends the stream and returns the bytes that the client is still missing.
    pub fn finish(&mut self, extras: &mut MakeExtras<'_>) -> Vec<u8> {
        match self {
            Self::Chunks(tap) => tap.finish(extras),
            Self::Events(tap) => tap.finish(extras),
        }
    }
}

/// The events of one API whose events name their kind.
pub(crate) trait TapEvents: fmt::Debug {
    /// Returns true if bytes may contain an event that `on_event` must handle.
    fn concerns(&self, bytes: &[u8]) -> bool;

    /// Handles an event that is not an error. Returns its data if it has changed.
    fn on_event(
        &mut self,
        kind: &str,
        data: &[u8],
        observed: &mut Observed,
        extras: &mut MakeExtras<'_>,
    ) -> Option<Vec<u8>>;

    /// Returns the last event of a stream that failed.
    fn error_event(&self, error: &ApiError) -> Vec<u8>;
}

/// The facts about a stream so far.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub summary: Summary,
    /// Set once the stream is complete.
    pub is_done: bool,
}

/// Observes a stream of events that name their kind.
#[derive(Debug)]
pub struct EventTap {
    events: Box<dyn TapEvents>,
    parser: sse::Parser,
    observed: Observed,
    error: Option<ApiError>,
    keys: KeyMask,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

impl EventTap {
    fn is_over(&self) -> bool {
        self.observed.is_done || self.error.is_some()
    }

    /// Returns true if bytes contain nothing that must be parsed, provided that they can be. All
    /// relevant data is in events that name their kind.
    fn is_plain(&self, bytes: &[u8]) -> bool {
        !self.is_over()
            && !self.parser.has_partial_event()
            && !self.events.concerns(bytes)
            && ERROR.find(bytes).is_none()
            && !self.keys.has_value(bytes)
            && bytes.ends_with(b"\n\n")
    }

    fn push(&mut self, bytes: &[u8], extras: &mut MakeExtras<'_>) -> Output {
        if self.is_plain(bytes) && sse::are_readable(bytes) {
            return Output::Unchanged;
        }
        self.push_events(bytes, extras)
    }

    fn push_translated(&mut self, bytes: &[u8], extras: &mut MakeExtras<'_>) -> Output {
        if self.is_plain(bytes) {
            return Output::Unchanged;
        }
        self.push_events(bytes, extras)
    }

    fn push_events(&mut self, bytes: &[u8], extras: &mut MakeExtras<'_>) -> Output {
        let mut out = Vec::with_capacity(bytes.len() + 256);
        let mut parser = std::mem::take(&mut self.parser);
        let pushed = parser.push(bytes, |event| self.on_event(event, &mut out, extras));
        self.parser = parser;
        if let Err(broken) = pushed {
            self.fail(broken.to_api_error(PROVIDER), &mut out);
        }
        Output::Replaced(out)
    }

    fn finish(&mut self, extras: &mut MakeExtras<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = self.parser.take_rest();
        if !rest.is_empty() {
            rest.extend_from_slice(b"\n\n");
            let event = sse::SseEvent { raw: &rest };
            if event.data().is_none_or(|data| !sse::is_cut(&data)) {
                self.on_event(event, &mut out, extras);
            }
        }
        if !self.observed.is_done {
            self.fail(ApiError::incomplete_stream(PROVIDER), &mut out);
        }
        out
    }

    fn fail(&mut self, error: ApiError, out: &mut Vec<u8>) {
        if self.is_over() {
            return;
        }
        out.extend(self.events.error_event(&error));
        self.error = Some(error);
    }

    fn on_event(
        &mut self,
        event: sse::SseEvent<'_>,
        out: &mut Vec<u8>,
        extras: &mut MakeExtras<'_>,
    ) {
        if self.is_over() {
            return;
        }
        let masked = if is_failure(event.raw) || self.keys.has_value(event.raw) {
            self.keys.mask_event(event.raw)
        } else {
            None
        };
        let event = sse::SseEvent {
            raw: masked.as_deref().unwrap_or(event.raw),
        };
        let data = event.data();
        let read = data
            .as_deref()
            .and_then(|data| json::from_bytes::<Event<'_>>(data).ok());
        let (Some(data), Some(read)) = (&data, read) else {
            if data.is_none_or(|data| sse::is_readable(&data)) {
                out.extend_from_slice(event.raw);
            } else {
                self.fail(StreamError::NotJson.to_api_error(PROVIDER), out);
            }
            return;
        };
        let changed = if read.kind == "error" {
            self.error = openai::error::from_event(PROVIDER, data)
                .or_else(|| Some(ApiError::new(502, "The provider's stream failed")));
            None
        } else {
            let observed = &mut self.observed;
            self.events.on_event(&read.kind, data, observed, extras)
        };
        match changed {
            Some(data) => {
                out.extend_from_slice(b"event: ");
                out.extend_from_slice(read.kind.as_bytes());
                out.extend_from_slice(b"\ndata: ");
                out.extend_from_slice(&data);
                out.extend_from_slice(b"\n\n");
            }
            None => out.extend_from_slice(event.raw),
        }
    }
}

/// Returns true if an event may report a failure.
fn is_failure(raw: &[u8]) -> bool {
    ERROR.find(raw).is_some() || FAILED.find(raw).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Api;

    fn tapped(api: Api, stream: &str) -> (String, Tap) {
        let mut tap = api.tap(false);
        let mut extras = |_: &Summary| br#""_cost":1"#.to_vec();
        let mut out = match tap.push(stream.as_bytes(), &mut extras) {
            Output::Unchanged => stream.as_bytes().to_vec(),
            Output::Replaced(bytes) => bytes,
        };
        out.extend(tap.finish(&mut extras));
        (String::from_utf8(out).unwrap(), tap)
    }

    #[test]
    fn a_message_gets_its_extras_with_its_usage() {
        let (out, tap) = tapped(
            Api::MESSAGES,
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3}}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":2}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        );
        assert!(
            out.contains(r#""usage":{"output_tokens":2},"_cost":1}"#),
            "{out}"
        );
        assert!(tap.is_over() && tap.error().is_none() && tap.summary().calls_tools);
        let usage = tap.summary().usage.unwrap();
        assert_eq!((usage.input, usage.output), (3, 2));
    }

    #[test]
    fn a_response_gets_its_extras_at_its_end() {
        let (out, tap) = tapped(
            Api::RESPONSES,
            "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"output\":[],\"usage\":{\"input_tokens\":3,\"output_tokens\":2}},\"sequence_number\":9}\n\n",
        );
        assert!(
            out.contains(r#""output_tokens":2},"_cost":1},"sequence_number":9}"#),
            "{out}"
        );
        assert_eq!(tap.summary().usage.unwrap().input, 3);
    }

    #[test]
    fn a_key_in_a_failure_is_masked() {
        let key = "0123abcd-our-own-key-of-the-provider";
        for (api, event) in [
            (
                Api::MESSAGES,
                "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"no KEY, says the provider\"}}\n\n",
            ),
            (
                Api::RESPONSES,
                "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"x\",\"message\":\"no KEY, says the provider\"}}}\n\n",
            ),
        ] {
            let mut tap = api.tap(false).masking(KeyMask::new([key]));
            let event = event.replace("KEY", key);
            let Output::Replaced(out) = tap.push(event.as_bytes(), &mut |_| Vec::new()) else {
                panic!("it passed");
            };
            let out = String::from_utf8(out).unwrap();
            assert!(out.contains("no [SECRET], says the provider"), "{out}");
            assert!(!format!("{:?}", tap.error()).contains("0123"));
        }
    }

    #[test]
    fn a_stream_that_does_not_say_that_it_is_complete_ends_with_an_error() {
        for api in [Api::MESSAGES, Api::RESPONSES] {
            let (out, tap) = tapped(api, "event: ping\ndata: {\"type\":\"ping\"}\n\n");
            assert!(out.contains("event: error\n"), "{out}");
            assert_eq!(
                tap.error().unwrap().code.as_deref(),
                Some("incomplete_stream")
            );
        }
    }
}
