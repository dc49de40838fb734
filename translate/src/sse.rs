//! Server-sent events, split at any byte.
//!
//! Source: the HTML standard, section "Server-sent events": lines end in CR, LF or CRLF, an empty
//! line ends an event, a line that starts with a colon is a comment.

use memchr::memchr2;

use crate::json;
use crate::stream_error::{MAX_EVENT, StreamError};

/// The data of the last event in OpenAI's streams.
pub const DONE: &[u8] = b"[DONE]";

/// Splits a byte stream into events. Bytes of an unfinished event are kept until the rest has come.
#[derive(Debug, Default)]
pub struct Parser {
    pending: Vec<u8>,
    scan: Scan,
    is_broken: bool,
}

/// Progress of the search for the end of an event, so that no byte is scanned twice.
#[derive(Debug, Default)]
struct Scan {
    /// Start of the current, incomplete line.
    line: usize,
    /// Offset up to which that line has no line ending.
    searched: usize,
}

/// One event: the raw bytes, including the empty line that ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SseEvent<'a> {
    pub raw: &'a [u8],
}

/// Returns true if data is not a payload of any API: nothing at all, or the marker that ends a
/// stream.
pub fn is_mark(data: &[u8]) -> bool {
    matches!(data.trim_ascii(), b"" | DONE)
}

/// Returns true if data is JSON or a mark.
pub fn is_readable(data: &[u8]) -> bool {
    is_mark(data) || json::is_valid(data)
}

/// Returns true if the data of a stream's last event, which has no empty line behind it, ends too
/// early.
pub fn is_cut(data: &[u8]) -> bool {
    !DONE.starts_with(data.trim_ascii()) && !json::is_valid(data)
}

/// Returns true if the data of each of these whole events can be read.
pub fn are_readable(events: &[u8]) -> bool {
    let mut are_readable = true;
    Scan::default().split(events, &mut |event| {
        are_readable = are_readable && event.data().is_none_or(|data| is_readable(&data));
    });
    are_readable
}

impl<'a> SseEvent<'a> {
    /// Returns the event's data; `None` for a comment or an event without data. Several `data`
    /// lines are joined.
    pub fn data(&self) -> Option<std::borrow::Cow<'a, [u8]>> {
        let mut found: Option<std::borrow::Cow<'a, [u8]>> = None;
        for line in lines(self.raw) {
            let Some(value) = field(line, b"data") else {
                continue;
            };
            match &mut found {
                None => found = Some(value.into()),
                Some(joined) => {
                    let joined = joined.to_mut();
                    joined.push(b'\n');
                    joined.extend_from_slice(value);
                }
            }
        }
        found
    }
}

impl Parser {
    /// Consumes the next bytes and passes every complete event to `on_event`. An event that never
    /// ends is an error, and nothing is parsed after it.
    pub fn push(
        &mut self,
        bytes: &[u8],
        mut on_event: impl FnMut(SseEvent<'_>),
    ) -> Result<(), StreamError> {
        self.push_to(bytes, &mut on_event)
    }

    /// Not generic, so that it is compiled once for all callers.
    fn push_to(
        &mut self,
        bytes: &[u8],
        on_event: &mut dyn FnMut(SseEvent<'_>),
    ) -> Result<(), StreamError> {
        if self.is_broken {
            return Err(StreamError::TooLong);
        }
        if self.pending.is_empty() {
            let consumed = self.scan.split(bytes, on_event);
            self.pending
                .extend_from_slice(bytes.get(consumed..).unwrap_or_default());
        } else {
            self.pending.extend_from_slice(bytes);
            let consumed = self.scan.split(&self.pending, on_event);
            // The rest is part of the bytes that just arrived, so moving it costs no more than
            // their arrival.
            self.pending.drain(..consumed);
        }
        if self.pending.len() > MAX_EVENT {
            self.take_rest();
            self.is_broken = true;
            return Err(StreamError::TooLong);
        }
        Ok(())
    }

    /// Returns true if an event has begun and is incomplete.
    pub fn has_partial_event(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Takes the event that the end of the stream cut short. Some providers close right after their
    /// last line, so it is worth parsing.
    pub fn take_rest(&mut self) -> Vec<u8> {
        self.scan = Scan::default();
        std::mem::take(&mut self.pending)
    }
}

impl Scan {
    /// Emits the complete events of `bytes` and returns their total length. The search resumes here
    /// when more bytes arrive.
    fn split(&mut self, bytes: &[u8], on_event: &mut dyn FnMut(SseEvent<'_>)) -> usize {
        let mut start = 0;
        while let Some(end) = self.event_end(bytes) {
            if let Some(raw) = bytes.get(start..end) {
                on_event(SseEvent { raw });
            }
            start = end;
        }
        self.line -= start;
        self.searched -= start;
        start
    }

    /// Returns the next offset at which an empty line ends an event; `None` if it hasn't arrived.
    /// An empty line with nothing before it is an event without data.
    fn event_end(&mut self, bytes: &[u8]) -> Option<usize> {
        loop {
            let Some(at) = bytes
                .get(self.searched..)
                .and_then(|rest| memchr2(b'\r', b'\n', rest))
            else {
                self.searched = bytes.len();
                return None;
            };
            let at = self.searched + at;
            let ending = match (bytes.get(at), bytes.get(at + 1)) {
                (Some(b'\r'), Some(b'\n')) => 2,
                // An LF may still follow; the event's end is unknown until then.
                (Some(b'\r'), None) => {
                    self.searched = at;
                    return None;
                }
                _ => 1,
            };
            let is_empty = at == self.line;
            self.line = at + ending;
            self.searched = self.line;
            if is_empty {
                return Some(self.line);
            }
        }
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        let (line, after) = rest.split_at_checked(end)?;
        rest = after.get(1..).unwrap_or_default();
        Some(line)
    })
    .filter(|line| !line.is_empty())
}

fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(name)?;
    if rest.is_empty() {
        return Some(rest);
    }
    let value = rest.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn data_of(chunks: &[&[u8]]) -> Vec<String> {
        let mut parser = Parser::default();
        let mut found = Vec::new();
        for chunk in chunks {
            let pushed = parser.push(chunk, |event| {
                if let Some(data) = event.data() {
                    found.push(String::from_utf8_lossy(&data).into_owned());
                }
            });
            pushed.unwrap();
        }
        found
    }

    #[test]
    fn every_line_ending_ends_a_line() {
        for text in ["data: a\n\ndata: b\n\n", "data: a\r\n\r\ndata: b\r\n\r\n"] {
            assert_eq!(data_of(&[text.as_bytes()]), ["a", "b"], "{text:?}");
        }
        assert_eq!(data_of(&[b"data: a\r\rdata: b\r\r\n"]), ["a", "b"]);
    }

    #[test]
    fn comments_and_other_fields_carry_no_data() {
        assert_eq!(
            data_of(&[b": ping\n\nevent: x\nid: 1\ndata:1\ndata: 2\n\n"]),
            ["1\n2"]
        );
    }

    #[test]
    fn an_event_in_many_pieces_is_read_once() {
        // Scanning from the start for every piece would take 10^12 steps.
        let mut parser = Parser::default();
        let mut events = 0;
        for _ in 0..4 {
            let pieces = std::iter::repeat_n(b"data: x\n".as_slice(), 400_000);
            for piece in pieces.chain([b"\n".as_slice()]) {
                parser.push(piece, |_| events += 1).unwrap();
            }
        }
        assert_eq!(events, 4);
    }

    #[test]
    fn an_event_without_end_is_not_kept() {
        let mut parser = Parser::default();
        let megabyte = vec![b'x'; 1 << 20];
        let pushed = (0..17)
            .map(|_| parser.push(&megabyte, |_| {}))
            .find(Result::is_err);
        assert_eq!(pushed, Some(Err(StreamError::TooLong)));
        assert!(!parser.has_partial_event());
        assert!(parser.push(b"data: 1\n\n", |_| {}).is_err());
    }

    proptest! {
        #[test]
        fn cutting_the_bytes_changes_nothing(cuts in prop::collection::vec(0usize..64, 0..8), crlf: bool) {
            let text = "event: a\ndata: {\"x\":1}\n\n: c\n\ndata: [DONE]\n\ndata: tail";
            let text = if crlf { text.replace('\n', "\r\n") } else { text.to_owned() };
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
            prop_assert_eq!(data_of(&chunks), data_of(&[text.as_bytes()]));
        }
    }
}
