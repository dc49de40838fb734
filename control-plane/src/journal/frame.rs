//! One payload in a segment: a mark, the length, a checksum, the bytes.

/// What every frame begins with, so that reading can go on behind a damaged one.
const MARK: [u8; 4] = *b"OTf\x01";
pub const HEADER: usize = 12;
/// Longer ones are damage: no record comes near it.
const MAX_PAYLOAD: usize = 512 << 20;

/// Adds a frame to what is about to be written.
pub fn write(payload: &[u8], out: &mut Vec<u8>) {
    // A payload is bounded by the largest gRPC message, far below 4 GiB.
    let length = u32::try_from(payload.len())
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    out.extend_from_slice(&MARK);
    out.extend_from_slice(&length);
    out.extend_from_slice(&checksum(length, payload).to_le_bytes());
    out.extend_from_slice(payload);
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A whole frame with a payload of this length.
    Frame(usize),
    /// The beginning of a frame that wants this many bytes in all.
    Short(usize),
    Damaged,
}

pub fn find(bytes: &[u8]) -> Found {
    let Some((header, rest)) = bytes.split_at_checked(HEADER) else {
        return Found::Short(HEADER);
    };
    let word = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
    let length = u32::from_le_bytes(word(4)) as usize;
    if word(0) != MARK || length > MAX_PAYLOAD {
        return Found::Damaged;
    }
    match rest.get(..length) {
        None => Found::Short(HEADER + length),
        Some(payload) if checksum(word(4), payload).to_le_bytes() == word(8) => {
            Found::Frame(length)
        }
        Some(_) => Found::Damaged,
    }
}

/// Where the next frame may begin, behind damage at the beginning of some bytes.
pub fn next_mark(bytes: &[u8]) -> Option<usize> {
    (1..bytes.len()).find(|&at| bytes[at..].starts_with(&MARK))
}
