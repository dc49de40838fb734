//! Observes a stream of chunks on its way to the client, and adds the gateway's members to its last
//! chunk.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::cost::Usage;
use crate::error::ApiError;
use crate::json;
use crate::object::Object;
use crate::openai::error;
use crate::openai::response::{Summary, View};
use crate::redact::KeyMask;
use crate::sse;
use crate::stream;
use crate::stream_error::{PROVIDER, StreamError};

const DONE: &[u8] = b"data: [DONE]\n\n";

// A search takes longer to set up than to go through a chunk.
static FINISH_REASON: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"finish_reason\""));
static USAGE: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"usage\""));
static ERROR: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"error\""));
static END: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(sse::DONE));
/// The mark as it is in a stream, not in a text.
static MARKS: LazyLock<[Finder<'_>; 2]> = LazyLock::new(|| {
    [
        Finder::new(b"\ndata: [DONE]"),
        Finder::new(b"\ndata:[DONE]"),
    ]
});

/// Returns the members to add to the last chunk, from the stream's summary.
pub type MakeExtras<'f> = dyn FnMut(&Summary) -> Vec<u8> + 'f;

/// A stream in OpenAI's format between a provider and a client.
///
/// Chunks pass byte for byte. The chunk that ends the answer is held until it is known to be the
/// last: usage may still follow, which is dropped unless the client asked for it. If a stream ends
/// before it is complete, the client receives an error event.
#[derive(Debug, Default)]
pub struct StreamTap {
    parser: sse::Parser,
    client_wants_usage: bool,
    /// The chunk with the finish reason, unchanged.
    held: Option<Vec<u8>>,
    has_finished: bool,
    is_done: bool,
    has_extras: bool,
    error: Option<ApiError>,
    summary: Summary,
    keys: KeyMask,
}

/// The replacement for the bytes that were pushed.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    Unchanged,
    Replaced(Vec<u8>),
}

impl StreamTap {
    pub fn new(client_wants_usage: bool) -> Self {
        Self {
            client_wants_usage,
            ..Self::default()
        }
    }

    /// Masks a provider's credentials in its errors.
    #[must_use]
    pub fn masking(self, keys: KeyMask) -> Self {
        Self { keys, ..self }
    }

    /// Returns the summary of the answer so far.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Returns the error that ended the stream, if any.
    pub fn error(&self) -> Option<&ApiError> {
        self.error.as_ref()
    }

    /// Returns true once the stream is complete or has failed.
    pub fn is_over(&self) -> bool {
        self.is_done || self.error.is_some()
    }

    /// Consumes the next bytes. `extras` returns the members to add to the last chunk, once its
    /// usage is known.
    pub fn push(&mut self, bytes: &[u8], extras: &mut MakeExtras<'_>) -> Output {
        if self.is_plain(bytes) && sse::are_readable(bytes) {
            return Output::Unchanged;
        }
        self.push_events(bytes, extras)
    }

    /// Consumes bytes of a translator, whose events can be read.
    pub fn push_translated(&mut self, bytes: &[u8], extras: &mut MakeExtras<'_>) -> Output {
        if self.is_plain(bytes) {
            return Output::Unchanged;
        }
        self.push_events(bytes, extras)
    }

    /// Returns true if bytes need not be parsed, provided that they can be.
    fn is_plain(&self, bytes: &[u8]) -> bool {
        self.held.is_none()
            && !self.is_over()
            && !self.parser.has_partial_event()
            && is_plain(bytes)
            && !self.keys.has_value(bytes)
    }

    fn push_events(&mut self, bytes: &[u8], extras: &mut MakeExtras<'_>) -> Output {
        let mut out = Vec::with_capacity(bytes.len() + 256);
        let mut parser = std::mem::take(&mut self.parser);
        let pushed = parser.push(bytes, |event| self.on_event(event.raw, &mut out, extras));
        self.parser = parser;
        if let Err(broken) = pushed {
            self.fail(broken.to_api_error(PROVIDER), &mut out);
        }
        Output::Replaced(out)
    }

    /// Ends the stream and returns the bytes that the client is still missing.
    pub fn finish(&mut self, extras: &mut MakeExtras<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = self.parser.take_rest();
        if !rest.is_empty() {
            rest.extend_from_slice(b"\n\n");
            let data = (sse::SseEvent { raw: &rest }).data();
            if data.is_some_and(|data| sse::is_cut(&data)) {
                self.fail(ApiError::incomplete_stream(PROVIDER), &mut out);
            } else {
                self.on_event(&rest, &mut out, extras);
            }
        }
        if self.is_over() {
            return out;
        }
        if self.has_finished {
            self.release(&mut out, Some(extras));
            out.extend_from_slice(DONE);
            self.is_done = true;
        } else {
            self.fail(ApiError::incomplete_stream(PROVIDER), &mut out);
        }
        out
    }

    /// Ends the stream with an error. Nothing follows it.
    fn fail(&mut self, error: ApiError, out: &mut Vec<u8>) {
        if self.is_over() {
            return;
        }
        self.release(out, None);
        out.extend(error.to_sse());
        self.error = Some(error);
    }

    fn on_event(&mut self, raw: &[u8], out: &mut Vec<u8>, extras: &mut MakeExtras<'_>) {
        if self.is_over() {
            return;
        }
        let masked = if self.keys.has_value(raw) {
            self.keys.mask_event(raw)
        } else {
            None
        };
        let raw = masked.as_deref().unwrap_or(raw);
        let Some(data) = (sse::SseEvent { raw }).data() else {
            out.extend_from_slice(raw);
            return;
        };
        if data.trim_ascii() == sse::DONE {
            self.release(out, Some(extras));
            out.extend_from_slice(DONE);
            self.is_done = true;
            return;
        }
        if sse::is_mark(&data) {
            out.extend_from_slice(raw);
            return;
        }
        let view = if is_plain(raw) {
            None
        } else {
            json::from_bytes::<View<'_>>(&data).ok()
        };
        let Some(view) = view else {
            // JSON of another kind is for the client to make sense of.
            let is_chunk = |event: &Object<'_>| stream::has_member(event, "choices");
            let is_broken: Option<StreamError> = match is_plain(raw) {
                true => (!json::is_valid(&data)).then_some(StreamError::NotJson),
                false => stream::broken_event(&data, &is_chunk),
            };
            if let Some(broken) = is_broken {
                self.fail(broken.to_api_error(PROVIDER), out);
                return;
            }
            self.release(out, None);
            out.extend_from_slice(raw);
            return;
        };
        if view.error.is_some() {
            let mut error = error::from_event(PROVIDER, &data)
                .unwrap_or_else(|| ApiError::new(502, "The provider's stream failed"));
            self.keys.mask_error(&mut error);
            self.fail(error, out);
            return;
        }
        if let Some(usage) = view.usage {
            self.summary.usage = Some(Usage::from(usage));
        }
        let finish = view
            .choices
            .iter()
            .find_map(|choice| choice.finish_reason.as_deref());
        if let Some(reason) = finish {
            self.release(out, None);
            self.summary.calls_tools |= reason == "tool_calls";
            self.has_finished = true;
            self.held = Some(raw.to_vec());
        } else if view.choices.is_empty() && view.usage.is_some() {
            if self.client_wants_usage {
                self.release(out, None);
                self.held = Some(raw.to_vec());
            } else {
                self.release(out, Some(extras));
            }
        } else {
            self.release(out, None);
            out.extend_from_slice(raw);
        }
    }

    /// Writes the held chunk, with the gateway's members if it is the last.
    fn release(&mut self, out: &mut Vec<u8>, extras: Option<&mut MakeExtras<'_>>) {
        let Some(held) = self.held.take() else {
            return;
        };
        let data = (sse::SseEvent { raw: &held }).data().map(Cow::into_owned);
        match (extras, data) {
            (Some(extras), Some(mut data)) if !self.has_extras => {
                json::append_members(&mut data, &extras(&self.summary));
                out.extend_from_slice(b"data: ");
                out.extend_from_slice(&data);
                out.extend_from_slice(b"\n\n");
                self.has_extras = true;
            }
            _ => out.extend_from_slice(&held),
        }
    }
}

/// Returns true if bytes are whole events and none of them ends the answer or carries usage or an
/// error, so that the gateway need not parse them. May return false negatives, never false
/// positives.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\n\n")
        && !has_value(bytes, &FINISH_REASON)
        && !has_value(bytes, &USAGE)
        && !has_value(bytes, &ERROR)
        && END.find(bytes).is_none()
}

/// Returns true if bytes contain a finish reason, or the mark after the last event.
pub(crate) fn ends_in(bytes: &[u8]) -> bool {
    has_value(bytes, &FINISH_REASON) || MARKS.iter().any(|mark| mark.find(bytes).is_some())
}

/// Returns true if a member with this name has a value other than null and the empty text.
fn has_value(bytes: &[u8], name: &Finder<'_>) -> bool {
    name.find_iter(bytes).any(|at| {
        let rest = bytes.get(at + name.needle().len()..).unwrap_or_default();
        let start = rest
            .iter()
            .position(|byte| !byte.is_ascii_whitespace() && *byte != b':');
        let value = rest.get(start.unwrap_or(rest.len())..).unwrap_or_default();
        !value.starts_with(b"n") && !value.starts_with(b"\"\"")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"},\"finish_reason\":null}],\"usage\":null}\n\n";
    const FINISH: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    const USAGE: &str =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
    const END: &str = "data: [DONE]\n\n";

    fn through(chunks: &[&[u8]], wants_usage: bool) -> (String, StreamTap) {
        let mut tap = StreamTap::new(wants_usage);
        let mut extras = |summary: &Summary| {
            format!("\"_x\":{}", summary.usage.map_or(0, |usage| usage.output)).into_bytes()
        };
        let mut out = Vec::new();
        for chunk in chunks {
            match tap.push(chunk, &mut extras) {
                Output::Unchanged => out.extend_from_slice(chunk),
                Output::Replaced(bytes) => out.extend(bytes),
            }
        }
        out.extend(tap.finish(&mut extras));
        (String::from_utf8(out).unwrap(), tap)
    }

    fn whole(parts: &[&str], wants_usage: bool) -> (String, StreamTap) {
        through(
            &parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>(),
            wants_usage,
        )
    }

    #[test]
    fn the_finish_chunk_carries_the_extras_and_unasked_usage_is_left_out() {
        let (out, tap) = whole(&[TEXT, FINISH, USAGE, END], false);
        let finish = FINISH.replace("}]}", "}],\"_x\":2}");
        assert_eq!(out, format!("{TEXT}{finish}{END}"));
        assert_eq!(tap.summary().usage.unwrap().input, 3);
    }

    #[test]
    fn the_usage_chunk_carries_them_where_the_client_asked_for_it() {
        let (out, _) = whole(&[TEXT, FINISH, USAGE, END], true);
        let usage = USAGE.replace("}}", "},\"_x\":2}");
        assert_eq!(out, format!("{TEXT}{FINISH}{usage}{END}"));
    }

    #[test]
    fn a_missing_end_mark_is_added_and_a_missing_finish_is_an_error() {
        let (out, tap) = whole(&[TEXT, FINISH], false);
        assert!(out.ends_with(END) && tap.error().is_none(), "{out}");
        let (out, tap) = whole(&[TEXT, "data: {\"cho"], false);
        assert!(
            out.contains("incomplete_stream") && !out.contains("[DONE]"),
            "{out}"
        );
        assert_eq!(tap.error().unwrap().status, 502);
    }

    #[test]
    fn an_error_in_mid_stream_ends_it() {
        let error = "data: {\"error\":{\"message\":\"overloaded\",\"code\":503}}\n\n";
        let (out, tap) = whole(&[TEXT, error, TEXT, END], false);
        assert!(
            out.starts_with(TEXT) && out.matches("data:").count() == 2,
            "{out}"
        );
        assert_eq!(tap.error().unwrap().message, "overloaded");
    }

    #[test]
    fn a_key_in_a_stream_is_masked() {
        let key = "0123abcd-our-own-key-of-the-provider";
        let error = format!(
            "data: {{\"error\":{{\"message\":\"no {key}, says the provider\",\"code\":\"{key}\"}}}}\n\n"
        );
        let plain = format!("data: {{\"a\":\"refused: {key}\"}}\n\n: {key}\n\n");
        for stream in [error, plain] {
            let mut tap = StreamTap::new(false).masking(KeyMask::new([key]));
            let mut out = Vec::new();
            for piece in stream.as_bytes().chunks(50) {
                match tap.push(piece, &mut |_| Vec::new()) {
                    Output::Unchanged => out.extend_from_slice(piece),
                    Output::Replaced(bytes) => out.extend(bytes),
                }
            }
            let out = String::from_utf8(out).unwrap();
            assert!(out.contains("[SECRET]") && !out.contains("0123"), "{out}");
            assert!(out.contains("refused: ") || out.contains(", says the provider"));
        }
    }

    #[test]
    fn words_of_the_protocol_in_the_text_change_nothing() {
        let text = "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"finish_reason\\\": \\\"stop\\\" [DONE] \\\"usage\\\":{} \\\"error\\\":1\"},\"finish_reason\":null}]}\n\n";
        let (out, tap) = whole(&[text, FINISH, END], false);
        assert!(out.starts_with(text) && tap.error().is_none(), "{out}");
    }

    proptest! {
        #[test]
        fn cutting_the_bytes_changes_nothing(cuts in prop::collection::vec(0usize..512, 0..12), wants_usage: bool) {
            let text = format!(": hello\n\n{TEXT}{TEXT}{FINISH}{USAGE}{END}");
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
            prop_assert_eq!(through(&chunks, wants_usage).0, whole(&[&text], wants_usage).0);
        }
    }
}
