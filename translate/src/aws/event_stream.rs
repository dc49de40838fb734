//! `application/vnd.amazon.eventstream`: binary messages, split at any byte.
//!
//! A message is twelve bytes of prelude (total length, length of the headers, CRC-32 of these eight
//! bytes), headers, payload, and the CRC-32 of everything before.
//!
//! Source: AWS's event stream specification (Smithy, "Amazon Event Stream"), November 2026.

use crate::stream_error::{MAX_EVENT, StreamError};

const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;

/// Splits bytes into messages. Bytes of an incomplete message are buffered until the rest arrives;
/// nothing of a message is used before its checksum is verified.
#[derive(Debug, Default)]
pub struct Parser {
    pending: Vec<u8>,
    broken: Option<StreamError>,
}

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventStreamMessage<'a> {
    headers: &'a [u8],
    pub payload: &'a [u8],
}

impl Parser {
    /// Consumes the next bytes and passes every complete message to `on_message`. After an error
    /// nothing more is parsed.
    pub fn push(
        &mut self,
        bytes: &[u8],
        mut on_message: impl FnMut(EventStreamMessage<'_>),
    ) -> Result<(), StreamError> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        self.pending.extend_from_slice(bytes);
        let mut rest = self.pending.as_slice();
        loop {
            match split(rest) {
                Ok(Some((message, after))) => {
                    on_message(message);
                    rest = after;
                }
                Ok(None) => break,
                Err(broken) => {
                    self.pending = Vec::new();
                    self.broken = Some(broken);
                    return Err(broken);
                }
            }
        }
        // The rest is part of the bytes that just arrived, so moving it costs no more than their
        // arrival.
        let consumed = self.pending.len() - rest.len();
        self.pending.drain(..consumed);
        Ok(())
    }
}

/// Returns the first message and the bytes after it; `None` if it is incomplete.
fn split(bytes: &[u8]) -> Result<Option<(EventStreamMessage<'_>, &[u8])>, StreamError> {
    let Some(prelude) = bytes.get(..PRELUDE) else {
        return Ok(None);
    };
    let (length, headers_length, prelude_crc) = (
        number(prelude, 0)?,
        number(prelude, 4)?,
        number(prelude, 8)?,
    );
    if crc32fast::hash(prelude.get(..8).unwrap_or_default()) as usize != prelude_crc {
        return Err(StreamError::Checksum);
    }
    if length > MAX_EVENT {
        return Err(StreamError::TooLong);
    }
    let headers_end = PRELUDE.saturating_add(headers_length);
    let Some(payload_end) = length
        .checked_sub(CHECKSUM)
        .filter(|&end| headers_end <= end)
    else {
        return Err(StreamError::Malformed);
    };
    let (Some(message), Some(after)) = (bytes.get(..length), bytes.get(length..)) else {
        return Ok(None);
    };
    if crc32fast::hash(message.get(..payload_end).unwrap_or_default()) as usize
        != number(message, payload_end)?
    {
        return Err(StreamError::Checksum);
    }
    let part = |range| message.get(range).ok_or(StreamError::Malformed);
    let message = EventStreamMessage {
        headers: part(PRELUDE..headers_end)?,
        payload: part(headers_end..payload_end)?,
    };
    Ok(Some((message, after)))
}

/// Reads four bytes in network order.
fn number(bytes: &[u8], at: usize) -> Result<usize, StreamError> {
    bytes
        .get(at..at.saturating_add(4))
        .and_then(|four| four.try_into().ok())
        .map(|four| u32::from_be_bytes(four) as usize)
        .ok_or(StreamError::Malformed)
}

impl<'a> EventStreamMessage<'a> {
    /// Returns a header's text, such as `:event-type`.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let mut rest = self.headers;
        while let Some((own, value, after)) = next_header(rest) {
            if own == name.as_bytes() {
                return std::str::from_utf8(value?).ok();
            }
            rest = after;
        }
        None
    }
}

/// A header's name, its value if it is a text, and the headers after it.
type Header<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8]);

fn next_header(bytes: &[u8]) -> Option<Header<'_>> {
    let (&name_length, bytes) = bytes.split_first()?;
    let (name, bytes) = bytes.split_at_checked(usize::from(name_length))?;
    let (&kind, bytes) = bytes.split_first()?;
    let fixed = match kind {
        0 | 1 => Some(0),
        2 => Some(1),
        3 => Some(2),
        4 => Some(4),
        5 | 8 => Some(8),
        9 => Some(16),
        _ => None,
    };
    match (kind, fixed) {
        (_, Some(length)) => Some((name, None, bytes.get(length..)?)),
        (6 | 7, None) => {
            let (length, bytes) = bytes.split_at_checked(2)?;
            let length = usize::from(u16::from_be_bytes(length.try_into().ok()?));
            let (value, bytes) = bytes.split_at_checked(length)?;
            Some((name, (kind == 7).then_some(value), bytes))
        }
        _ => None,
    }
}

/// Writes a message whose headers are texts, for tests that simulate AWS.
pub fn encode(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut list = Vec::new();
    for (name, value) in headers {
        list.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        list.extend_from_slice(name.as_bytes());
        list.push(7);
        list.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        list.extend_from_slice(value.as_bytes());
    }
    let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
    let mut message = size(PRELUDE + list.len() + payload.len() + CHECKSUM).to_vec();
    message.extend(size(list.len()));
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message.extend(list);
    message.extend_from_slice(payload);
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payloads(parser: &mut Parser, bytes: &[u8]) -> Result<Vec<String>, StreamError> {
        let mut found = Vec::new();
        parser.push(bytes, |message| {
            found.push(String::from_utf8_lossy(message.payload).into_owned());
        })?;
        Ok(found)
    }

    #[test]
    fn messages_arrive_whatever_the_cuts() {
        let stream = [
            encode(&[(":event-type", "a")], b"one"),
            encode(&[], b"two"),
            encode(&[(":event-type", "b")], b""),
        ]
        .concat();
        for size in 1..stream.len() {
            let mut parser = Parser::default();
            let found: Vec<String> = stream
                .chunks(size)
                .flat_map(|chunk| payloads(&mut parser, chunk).unwrap())
                .collect();
            assert_eq!(found, ["one", "two", ""], "in pieces of {size}");
        }
    }

    #[test]
    fn a_message_in_many_pieces_is_copied_once() {
        // Copying the buffer for every piece would move 10^13 bytes.
        let message = encode(&[], &vec![b'x'; 8 << 20]);
        let mut parser = Parser::default();
        let mut lengths = Vec::new();
        for piece in message.chunks(3) {
            let read = parser.push(piece, |message| lengths.push(message.payload.len()));
            read.unwrap();
        }
        assert_eq!(lengths, [8 << 20]);
    }

    #[test]
    fn headers_are_found_by_name_whatever_stands_before_them() {
        let message = encode(&[("a", "1"), (":event-type", "messageStart")], b"{}");
        let (message, _) = split(&message).unwrap().unwrap();
        assert_eq!(message.header(":event-type"), Some("messageStart"));
        assert_eq!(message.header("b"), None);
        let other = EventStreamMessage {
            headers: b"\x01a\x04\0\0\0\x07\x01b\x07\0\x02hi",
            payload: b"",
        };
        assert_eq!(other.header("b"), Some("hi"));
        assert_eq!(other.header("a"), None);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let good = encode(&[(":event-type", "x")], b"payload");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let mut parser = Parser::default();
            assert!(payloads(&mut parser, &bad).is_err(), "byte {at}");
            assert!(payloads(&mut parser, &good).is_err(), "it stays broken");
        }
    }

    #[test]
    fn a_length_is_refused_before_it_is_waited_for() {
        let mut message = u32::MAX.to_be_bytes().to_vec();
        message.extend(0u32.to_be_bytes());
        message.extend(crc32fast::hash(&message).to_be_bytes());
        assert_eq!(
            payloads(&mut Parser::default(), &message),
            Err(StreamError::TooLong)
        );
    }
}
