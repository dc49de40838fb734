//! The store's progress through the journal, and its serialized form.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::journal::segment::Position;

/// The part of a journal that is stored: everything before `position`, except the rest of the
/// `deferred` segments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    pub position: Position,
    /// Segments that could not be read to the end, and the offset where reading continues.
    pub deferred: BTreeMap<u64, u64>,
}

impl Progress {
    /// Returns `true` if the store has everything before `end`.
    pub fn covers(&self, end: Position) -> bool {
        self.position >= end && self.deferred.keys().all(|&number| number > end.segment)
    }

    /// Returns the offset up to which a segment is stored.
    pub fn offset_in(&self, number: u64) -> u64 {
        match self.deferred.get(&number) {
            Some(&offset) => offset,
            None if number == self.position.segment => self.position.offset,
            None => 0,
        }
    }

    /// Serializes to a line with a checksum: `v2 CHECKSUM SEGMENT OFFSET [SEGMENT:OFFSET …]`.
    pub fn to_line(&self) -> String {
        let Position { segment, offset } = self.position;
        let mut text = format!("{segment} {offset}");
        for (segment, offset) in &self.deferred {
            // Writing to a string can't fail.
            let _ = write!(text, " {segment}:{offset}");
        }
        format!("v2 {:08x} {text}\n", crc32fast::hash(text.as_bytes()))
    }

    /// Parses a line, including the format of earlier releases (`SEGMENT OFFSET`). Returns `None`
    /// if it is damaged.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
        let text = match line.strip_prefix("v2 ") {
            Some(rest) => {
                let (checksum, text) = rest.split_once(' ')?;
                let checksum = u32::from_str_radix(checksum, 16).ok()?;
                (checksum == crc32fast::hash(text.as_bytes())).then_some(text)?
            }
            None => line,
        };
        let mut parts = text.split(' ');
        let position = Position {
            segment: parts.next()?.parse().ok()?,
            offset: parts.next()?.parse().ok()?,
        };
        let deferred = parts.map(|part| {
            let (segment, offset) = part.split_once(':')?;
            Some((segment.parse().ok()?, offset.parse().ok()?))
        });
        Some(Self {
            position,
            deferred: deferred.collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        Progress {
            position: Position {
                segment: 12,
                offset: 3456,
            },
            deferred: BTreeMap::from([(7, 0), (9, 88)]),
        }
    }

    #[test]
    fn a_line_says_what_was_written() {
        let progress = progress();
        assert_eq!(
            Progress::parse(progress.to_line().as_bytes()),
            Some(progress)
        );
        let earlier = Progress::parse(b"12 3456\n").unwrap();
        assert_eq!(earlier.position, self::progress().position);
    }

    #[test]
    fn no_flipped_bit_and_no_cut_moves_the_position() {
        let line = progress().to_line().into_bytes();
        for bit in 0..line.len() * 8 {
            let mut flipped = line.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let parsed = Progress::parse(&flipped);
            // A flip may change the case of a hex digit of the checksum, and nothing else.
            assert!(parsed.is_none() || parsed == Some(progress()), "bit {bit}");
        }
        for length in 0..line.len() {
            assert_eq!(Progress::parse(&line[..length]), None, "{length}");
        }
    }

    #[test]
    fn a_deferred_segment_is_not_covered() {
        let end = |segment, offset| Position { segment, offset };
        assert!(progress().covers(end(6, 0)));
        assert!(!progress().covers(end(7, 1)));
        assert!(!progress().covers(end(12, 3456)));
    }
}
