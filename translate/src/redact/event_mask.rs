//! Masks credentials in the errors of a stream that passes unchanged.

use crate::needle::Needle;
use crate::redact::key_mask::KeyMask;
use crate::sse;

static ERROR: Needle = Needle::new("error");

/// A stream of events on its way to a client.
///
/// Complete events pass at once. An event that contains `error` or a key is masked; an incomplete
/// one is buffered until the rest arrives.
#[derive(Debug)]
pub struct EventMask {
    keys: KeyMask,
    parser: sse::Parser,
}

impl EventMask {
    pub fn new(keys: KeyMask) -> Self {
        Self {
            keys,
            parser: sse::Parser::default(),
        }
    }

    /// Consumes the next bytes and returns those for the client; `None` if they are unchanged.
    pub fn push(&mut self, bytes: &[u8], is_last: bool) -> Option<Vec<u8>> {
        let is_whole = is_last || bytes.ends_with(b"\n\n");
        if !self.parser.has_partial_event() && is_whole && !self.is_suspect(bytes) {
            return None;
        }
        let mut parser = std::mem::take(&mut self.parser);
        let mut out = Vec::with_capacity(bytes.len());
        let pushed = parser.push(bytes, |event| self.write(event.raw, &mut out));
        if is_last && pushed.is_ok() {
            let rest = parser.take_rest();
            self.write(&rest, &mut out);
        }
        self.parser = parser;
        Some(out)
    }

    fn is_suspect(&self, raw: &[u8]) -> bool {
        ERROR.is_in(raw) || self.keys.has_value(raw)
    }

    fn write(&self, raw: &[u8], out: &mut Vec<u8>) {
        let masked = if self.is_suspect(raw) {
            self.keys.mask_event(raw)
        } else {
            None
        };
        out.extend_from_slice(masked.as_deref().unwrap_or(raw));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123abcd-our-own-key-of-the-provider";

    fn through(stream: &str, size: usize) -> String {
        let mut mask = EventMask::new(KeyMask::new([KEY]));
        let pieces: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
        let mut out = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            let masked = mask.push(piece, index + 1 == pieces.len());
            out.extend(masked.unwrap_or_else(|| piece.to_vec()));
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_key_is_masked_however_its_event_is_cut() {
        let good = "data: {\"a\":1}\n\n: ping\n\n";
        let bad = format!("event: error\ndata: {{\"error\":\"no {KEY} here\"}}\n\n");
        let cut = format!("data: {KEY}");
        let expected = format!(
            "{good}event: error\ndata: {{\"error\":\"no [SECRET] here\"}}\n\ndata: [SECRET]"
        );
        for size in 1..=200 {
            assert_eq!(
                through(&format!("{good}{bad}{cut}"), size),
                expected,
                "{size}"
            );
        }
        assert_eq!(through(good, 200), good);
    }
}
