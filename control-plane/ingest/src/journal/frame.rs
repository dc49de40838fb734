//! A frame: a header and one payload in a segment.
//!
//! | bytes | version 2 | version 1 (read only) |
//! |---|---|---|
//! | 0..4 | mark `FF 4F 54 02` | mark `OTf\x01` |
//! | 4..8 | number of the frame in its segment | length of the payload |
//! | 8..12 | length of the payload | CRC-32 of length and payload |
//! | 12..16 | CRC-32 of the payload | |
//! | 16..20 | CRC-32 of the preceding bytes | |
//!
//! Numbers are little-endian. `FF` never occurs in UTF-8 text, so client data can't look like a
//! mark. The header's own checksum distinguishes a damaged length from a partial frame. The frame
//! number reveals how many frames were lost to damage.

use std::ops::Range;

const MARK: [u8; 4] = [0xff, b'O', b'T', 2];
const MARK_V1: [u8; 4] = *b"OTf\x01";
const HEADER: usize = 20;
const HEADER_V1: usize = 12;
/// The minimum length of a frame.
pub const MIN_BYTES: usize = HEADER_V1;
/// Longer payloads are damage; no record comes close to this size.
const MAX_PAYLOAD: usize = 512 << 20;

/// A version of the format; the same for all frames of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameFormat {
    V1,
    V2,
}

/// A complete frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub format: FrameFormat,
    /// The number in the segment; `None` in version 1.
    pub sequence: Option<u32>,
    /// The range of the payload, relative to the start of the frame. The frame ends with it.
    pub payload: Range<usize>,
}

/// The result of parsing the start of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    Frame(Frame),
    /// A partial frame that needs this many bytes in total.
    Short(usize),
    /// Not a frame: the header or the payload is damaged.
    Damaged,
}

/// Appends a frame to a buffer.
pub fn write(sequence: u32, payload: &[u8], out: &mut Vec<u8>) {
    // The largest gRPC message bounds the payload, far below 4 GiB.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let begin = out.len();
    out.extend_from_slice(&MARK);
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    let checksum = crc32fast::hash(out.get(begin..).unwrap_or_default());
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(payload);
}

/// Parses the frame at the start of a buffer, in a given format if it is known.
pub fn parse(bytes: &[u8], format: Option<FrameFormat>) -> Parsed {
    let Some(mark) = bytes.first_chunk::<4>() else {
        return Parsed::Short(MIN_BYTES);
    };
    match (*mark, format) {
        (MARK, None | Some(FrameFormat::V2)) => parse_v2(bytes),
        (MARK_V1, None | Some(FrameFormat::V1)) => parse_v1(bytes),
        _ => Parsed::Damaged,
    }
}

fn parse_v2(bytes: &[u8]) -> Parsed {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Parsed::Short(HEADER);
    };
    let length = word(header, 8) as usize;
    let is_sound = crc32fast::hash(&header[..16]) == word(header, 16);
    if !is_sound || length > MAX_PAYLOAD {
        return Parsed::Damaged;
    }
    match rest.get(..length) {
        None => Parsed::Short(HEADER + length),
        Some(payload) if crc32fast::hash(payload) == word(header, 12) => Parsed::Frame(Frame {
            format: FrameFormat::V2,
            sequence: Some(word(header, 4)),
            payload: HEADER..HEADER + length,
        }),
        Some(_) => Parsed::Damaged,
    }
}

fn parse_v1(bytes: &[u8]) -> Parsed {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_V1>() else {
        return Parsed::Short(HEADER_V1);
    };
    let length = word(header, 4) as usize;
    if length > MAX_PAYLOAD {
        return Parsed::Damaged;
    }
    let Some(payload) = rest.get(..length) else {
        return Parsed::Short(HEADER_V1 + length);
    };
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&header[4..8]);
    checksum.update(payload);
    if checksum.finalize() != word(header, 8) {
        return Parsed::Damaged;
    }
    Parsed::Frame(Frame {
        format: FrameFormat::V1,
        sequence: None,
        payload: HEADER_V1..HEADER_V1 + length,
    })
}

/// Reads a number from a header.
fn word<const LENGTH: usize>(header: &[u8; LENGTH], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

/// Returns the next possible start of a frame at or after an offset.
pub fn next_mark(bytes: &[u8], from: usize, format: Option<FrameFormat>) -> Option<usize> {
    let is_mark = |window: &[u8]| {
        (window == MARK && format != Some(FrameFormat::V1))
            || (window == MARK_V1 && format != Some(FrameFormat::V2))
    };
    let found = bytes.get(from..)?.windows(4).position(is_mark)?;
    Some(from + found)
}

/// Appends a frame of version 1, as earlier releases wrote it.
#[cfg(test)]
pub fn write_v1(payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&length);
    checksum.update(payload);
    out.extend_from_slice(&MARK_V1);
    out.extend_from_slice(&length);
    out.extend_from_slice(&checksum.finalize().to_le_bytes());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        let mut bytes = Vec::new();
        write(7, b"a payload", &mut bytes);
        let whole = parse(&bytes, None);
        assert!(matches!(&whole, Parsed::Frame(frame) if frame.sequence == Some(7)));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&flipped, None), Parsed::Damaged, "bit {bit}");
        }
    }

    #[test]
    fn a_frame_that_is_cut_says_how_much_it_needs() {
        let mut bytes = Vec::new();
        write(0, b"a payload", &mut bytes);
        for length in 0..bytes.len() {
            let needed = match length {
                0..4 => MIN_BYTES,
                4..HEADER => HEADER,
                _ => bytes.len(),
            };
            assert_eq!(parse(&bytes[..length], None), Parsed::Short(needed));
        }
    }

    #[test]
    fn no_text_holds_a_mark() {
        let every_char: String = (0..=u32::from(char::MAX))
            .filter_map(char::from_u32)
            .collect();
        assert_eq!(
            next_mark(every_char.as_bytes(), 0, Some(FrameFormat::V2)),
            None
        );
    }
}
