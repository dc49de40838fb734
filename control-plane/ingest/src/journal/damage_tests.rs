//! Tests of every kind of damage to a segment: undamaged frames arrive, and losses are reported.

use std::ops::Range;
use std::path::Path;

use super::*;

/// A kind of damage to a segment.
#[derive(Debug, Clone)]
enum Harm {
    Flip(Vec<usize>),
    Cut(usize),
    Zero(Range<usize>),
    Remove(Range<usize>),
}

impl Harm {
    fn random(random: &mut fastrand::Rng, length: usize) -> Self {
        let range = |random: &mut fastrand::Rng| {
            let start = random.usize(..length);
            start..(start + random.usize(1..400)).min(length)
        };
        match random.u8(..5) {
            0 | 1 => Self::Flip(
                (0..random.usize(1..6))
                    .map(|_| random.usize(..length * 8))
                    .collect(),
            ),
            2 => Self::Cut(random.usize(..length)),
            3 => Self::Zero(range(random)),
            _ => Self::Remove(range(random)),
        }
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Flip(bits) => bits.iter().for_each(|bit| bytes[bit / 8] ^= 1 << (bit % 8)),
            Self::Cut(at) => bytes.truncate(*at),
            Self::Zero(range) => bytes[range.clone()].fill(0),
            Self::Remove(range) => drop(bytes.drain(range.clone())),
        }
    }

    fn touches(&self, frame: &Range<usize>) -> bool {
        let overlaps = |range: &Range<usize>| range.start < frame.end && frame.start < range.end;
        match self {
            // Flipping a bit twice changes nothing.
            Self::Flip(bits) => bits.iter().any(|bit| {
                frame.contains(&(bit / 8))
                    && bits.iter().filter(|&other| other == bit).count() % 2 == 1
            }),
            Self::Cut(at) => *at < frame.end,
            Self::Zero(range) | Self::Remove(range) => overlaps(range),
        }
    }
}

/// Writes a segment as an earlier process would, and returns the positions of its frames.
fn write_segment(
    path: &Path,
    random: &mut fastrand::Rng,
    is_v1: bool,
) -> Vec<(Range<usize>, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut frames = Vec::new();
    for sequence in 0..random.u32(1..40) {
        // No zeros, because zeroing them would change nothing. No bytes of a mark either, so that
        // removed bytes can't be mistaken for those that follow.
        let mut payload: Vec<u8> = (0..random.usize(1..300))
            .map(|_| random.u8(1..0x4f))
            .collect();
        if random.bool() {
            payload.extend_from_slice(b"\xffOT\x02OTf\x01");
        }
        let start = bytes.len();
        if is_v1 {
            frame::write_v1(&payload, &mut bytes);
        } else {
            frame::write(sequence, &payload, &mut bytes);
        }
        frames.push((start..bytes.len(), payload));
    }
    std::fs::write(path, bytes).unwrap();
    frames
}

#[test]
fn damage_costs_the_frames_that_it_touches_and_no_other() {
    let mut random = fastrand::Rng::with_seed(14);
    for case in 0..600 {
        let folder = tempfile::tempdir().unwrap();
        let path = segment::path(folder.path(), 1);
        let frames = write_segment(&path, &mut random, case % 3 == 0);
        let mut bytes = std::fs::read(&path).unwrap();
        let harm = Harm::random(&mut random, bytes.len());
        harm.apply(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        let health = HealthRegistry::default();
        let (journal, mut reader, _bookmark) =
            open(folder.path(), 1 << 30, health.clone()).unwrap();
        let read = reader.next(usize::MAX).payloads;
        let mut rest = read.iter().peekable();
        let mut lost = 0;
        for (range, payload) in &frames {
            if rest.next_if_eq(&payload).is_some() {
                // Only zeroing a zero, or removing a byte equal to its successor, may cause no
                // loss.
                let is_same = matches!(harm, Harm::Zero(_) | Harm::Remove(_));
                assert!(is_same || !harm.touches(range), "case {case}: {harm:?}");
            } else {
                assert!(harm.touches(range), "case {case}: {harm:?}");
                lost += 1;
            }
        }
        assert_eq!(rest.next(), None, "case {case}: {harm:?}");
        let figures = journal.figures();
        let is_last_whole = read.last() == frames.last().map(|(_, payload)| payload);
        if lost > 0 && is_last_whole {
            assert!(health.is_degraded(), "case {case}: {harm:?}");
            if case % 3 != 0 {
                assert_eq!(
                    figures.lost_frames.get(),
                    lost as u64,
                    "case {case}: {harm:?}"
                );
            }
        } else if lost == 0 {
            assert_eq!(figures.damaged_places.get(), 0, "case {case}: {harm:?}");
        }
    }
}

#[test]
fn a_flipped_bit_in_a_length_costs_one_frame() {
    for is_v1 in [false, true] {
        for bit in 0..32 {
            let folder = tempfile::tempdir().unwrap();
            let path = segment::path(folder.path(), 1);
            let mut bytes = Vec::new();
            let mut offsets = Vec::new();
            for number in 0..20 {
                offsets.push(bytes.len());
                let payload = format!("record {number}").into_bytes();
                if is_v1 {
                    frame::write_v1(&payload, &mut bytes);
                } else {
                    frame::write(number, &payload, &mut bytes);
                }
            }
            let length = offsets[5] + if is_v1 { 4 } else { 8 };
            bytes[length + bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &bytes).unwrap();
            let health = HealthRegistry::default();
            let (_journal, mut reader, mut bookmark) =
                open(folder.path(), 1 << 30, health.clone()).unwrap();
            let batch = reader.next(usize::MAX);
            bookmark.advance(&batch.progress);
            assert_eq!(batch.payloads.len(), 19, "v1 {is_v1}, bit {bit}");
            assert!(health.is_degraded());
            let kept = path.with_extension("damaged");
            assert_eq!(std::fs::read(kept).unwrap(), bytes);
        }
    }
}

#[test]
fn a_frame_that_was_never_finished_is_not_damage() {
    let mut whole = Vec::new();
    frame::write(0, b"one", &mut whole);
    let end = whole.len();
    frame::write(1, b"unfinished", &mut whole);
    for length in end..whole.len() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(segment::path(folder.path(), 1), &whole[..length]).unwrap();
        let health = HealthRegistry::default();
        let (journal, mut reader, _bookmark) =
            open(folder.path(), 1 << 30, health.clone()).unwrap();
        assert_eq!(reader.next(usize::MAX).payloads, [b"one"], "{length}");
        assert_eq!(journal.figures().damaged_places.get(), 0);
        assert!(!health.is_degraded());
    }
}

#[test]
fn any_bytes_at_all_are_read_to_their_end() {
    let mut random = fastrand::Rng::with_seed(8);
    for case in 0..200 {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes: Vec<u8> = (0..random.usize(..5000)).map(|_| random.u8(..)).collect();
        for _ in 0..random.usize(..20) {
            let mark: &[u8] = random.choice([&b"\xffOT\x02"[..], b"OTf\x01"]).unwrap();
            let at = random.usize(..=bytes.len());
            bytes.splice(at..at, mark.iter().copied());
        }
        std::fs::write(segment::path(folder.path(), 1), bytes).unwrap();
        let (journal, mut reader, mut bookmark) =
            open(folder.path(), 1 << 30, HealthRegistry::default()).unwrap();
        let batch = reader.next(usize::MAX);
        assert_eq!(batch.payloads, [b""; 0], "case {case}");
        bookmark.advance(&batch.progress);
        assert_eq!(journal.backlog_bytes(), 0, "case {case}");
    }
}
