//! Numbers with varying groups: cards, accounts, telephone numbers, IP addresses.

use memchr::memchr;

use super::kind::{self, DASH, DIGIT, DOT, HEX, OPEN, PLUS, SLASH, SPACE, UPPER, WORD};
use super::{
    Match, before, byte, count, digits, first, is_boundary, is_word, run_end, run_start, scan, skip,
};

/// Finds thirteen to nineteen digits, with an optional space or dash between any two.
pub fn card(text: &[u8], from: usize) -> Option<Match> {
    const LEAST: usize = 13;
    const MOST: usize = 19;
    let mut at = from;
    loop {
        let start = first(text, at, DIGIT);
        if start >= text.len() {
            return None;
        }
        let next_word = |at| run_end(text, at, WORD);
        if is_word(before(text, start)) {
            at = next_word(start + 1);
            continue;
        }
        let (mut end, mut count, mut found) = (start + 1, 1, None);
        while count < MOST {
            let digit = skip(text, end, SPACE | DASH);
            if !byte(text, digit).is_ascii_digit() {
                break;
            }
            end = digit + 1;
            count += 1;
            if count >= LEAST && is_boundary(text, end) {
                found = Some(end);
            }
        }
        if let Some(end) = found {
            return Some(Match::new(start, end));
        }
        // A number that begins later among too few digits has fewer still.
        at = if count < LEAST {
            end
        } else {
            next_word(start + 1)
        };
    }
}

/// Finds a country code, two digits, and groups of four.
pub fn iban(text: &[u8], from: usize) -> Option<Match> {
    const PART: u32 = UPPER | DIGIT;
    scan(text, from, UPPER, &|text, start| {
        let is_head = byte(text, start + 1).is_ascii_uppercase() && digits(text, start + 2, 2) == 2;
        if !is_head {
            return None;
        }
        let mut at = start + 4;
        let mut found = None;
        for groups in 0..=7 {
            let next = skip(text, at, SPACE);
            let length = count(text, next, 4, PART);
            if groups >= 2 {
                // Tries the longest remainder first. A match with more groups replaces one with
                // fewer.
                let rest = (1..=length).rev().map(|length| next + length);
                let end = rest.chain([at]).find(|&end| is_boundary(text, end));
                found = end.or(found);
            }
            if length < 4 {
                break;
            }
            at = next + 4;
        }
        found
    })
}

/// Finds a telephone number, with a country code or in a national notation.
pub fn phone(text: &[u8], from: usize) -> Option<Match> {
    let mut at = from;
    loop {
        let start = first(text, at, DIGIT | PLUS | OPEN);
        if start >= text.len() {
            return None;
        }
        let is_start = is_boundary(text, start);
        let next = byte(text, start + 1);
        let end = match byte(text, start) {
            // All begin with a digit, or have one after their first byte.
            _ if !next.is_ascii_digit() => None,
            b'+' => international(
                text,
                start + 1,
                SPACE | DOT | DASH,
                SPACE | DOT | DASH | SLASH,
            ),
            b'(' => area_in_brackets(text, start).or_else(|| trunk(text, start)),
            b'0' if is_start && next == b'0' => international(text, start + 2, SPACE, SPACE)
                .or_else(|| three_groups(text, start))
                .or_else(|| trunk(text, start)),
            b'0' if is_start => three_groups(text, start).or_else(|| trunk(text, start)),
            b'1'..=b'9' if is_start => three_groups(text, start),
            _ => None,
        };
        if let Some(end) = end {
            return Some(Match::new(start, end));
        }
        at = start + 1;
        if byte(text, start).is_ascii_digit() {
            // No number begins within a word.
            at = run_end(text, at, WORD);
        }
    }
}

/// Matches `+49 (30) 1234 5678` or `0049 30 1234 5678`, after the plus or the zeros.
fn international(text: &[u8], start: usize, separators: u32, in_groups: u32) -> Option<usize> {
    let countries = digits(text, start, 3);
    if countries == 0 {
        return None;
    }
    let groups = Groups::read(text, start, in_groups)?;
    (1..=countries).rev().find_map(|country| {
        let mut at = skip(text, start + country, separators);
        if byte(text, at) == b'(' && separators != SPACE {
            let area = digits(text, at + 1, 4);
            if area > 0 && byte(text, at + 1 + area) == b')' {
                at = skip(text, at + area + 2, separators);
            }
        }
        (1..=digits(text, at, 4))
            .rev()
            .find_map(|first| groups.end(at + first - start))
            .map(|end| start + end)
    })
}

/// Matches two to four groups of two to four digits, each after an optional separator.
///
/// A number may be divided into groups in many ways, and trying them one after the other would be
/// slow. This computes for all offsets at once from which of them groups reach an end. Each bit
/// stands for an offset.
struct Groups {
    separators: u64,
    /// Offsets at which two, three and four digits begin.
    digits: [u64; 3],
    /// Offsets from which groups reach an end, by the number of groups already read.
    reach: [u64; Self::MOST + 1],
    ends: u64,
}

impl Groups {
    const LEAST: usize = 2;
    const MOST: usize = 4;
    /// Digits of the shortest number: a country, a first group, and two more.
    const LEAST_DIGITS: u32 = 1 + 1 + 2 * 2;
    /// Bytes of the longest number: a country, an area in brackets, a first group, and four more.
    const LONGEST: usize = 3 + 1 + 6 + 1 + 4 + Self::MOST * 5;

    fn read(text: &[u8], start: usize, in_groups: u32) -> Option<Self> {
        let (mut digits, mut separators, mut ends) = (0u64, 0u64, 0u64);
        // Stops where no number can continue: brackets occur once, separators one at a time.
        let mut has_area = in_groups != SPACE;
        let is_separator =
            |offset: usize, separators: u64| offset < 64 && separators >> offset & 1 == 1;
        for offset in 0..=Self::LONGEST {
            let byte = byte(text, start + offset);
            let bit = 1 << offset;
            if byte.is_ascii_digit() {
                digits |= bit;
                continue;
            }
            if !is_word(byte) {
                ends |= bit;
            }
            if kind::is(byte, in_groups) {
                if is_separator(offset.wrapping_sub(1), separators) {
                    break;
                }
                separators |= bit;
            } else if has_area && matches!(byte, b'(' | b')') {
                has_area = byte == b'(';
            } else {
                break;
            }
        }
        if digits.count_ones() < Self::LEAST_DIGITS {
            return None;
        }
        let two = digits & digits >> 1;
        let three = two & digits >> 2;
        let digits = [two, three, three & digits >> 3];
        let mut reach = [0; Self::MOST + 1];
        let mut next = ends;
        for (count, reach) in reach.iter_mut().enumerate().rev() {
            if count < Self::MOST {
                let lengths = digits.iter().zip(2..);
                let group = lengths.fold(0, |all, (digits, length)| all | digits & next >> length);
                next = separators & group >> 1 | !separators & group;
                if count >= Self::LEAST {
                    next |= ends;
                }
            }
            *reach = next;
        }
        Some(Self {
            separators,
            digits,
            reach,
            ends,
        })
    }

    /// Returns the end of the groups from an offset on; prefers the longest groups, and more of
    /// them.
    fn end(&self, mut at: usize) -> Option<usize> {
        let has = |set: u64, at: usize| set >> at & 1 == 1;
        let [begin, following @ ..] = &self.reach;
        if !has(*begin, at) {
            return None;
        }
        for (count, reach) in following.iter().enumerate() {
            let start = at + usize::from(has(self.separators, at));
            let lengths = self.digits.iter().zip(2..=4usize);
            let group = lengths
                .map(|(digits, length)| (*digits, start + length))
                .filter(|(digits, end)| has(*digits, start) && has(*reach, *end))
                .last();
            match group {
                Some((_, end)) => at = end,
                None if count >= Self::LEAST && has(self.ends, at) => break,
                None => return None,
            }
        }
        Some(at)
    }
}

/// Matches `(030) 123-4567`.
fn area_in_brackets(text: &[u8], start: usize) -> Option<usize> {
    if digits(text, start + 1, 3) < 3 || byte(text, start + 4) != b')' {
        return None;
    }
    last_groups(text, skip(text, start + 5, SPACE))
}

/// Matches `030-123-4567`.
fn three_groups(text: &[u8], start: usize) -> Option<usize> {
    if digits(text, start, 3) < 3 || !kind::is(byte(text, start + 3), SPACE | DOT | DASH) {
        return None;
    }
    last_groups(text, start + 4)
}

/// Matches `123-4567`.
fn last_groups(text: &[u8], at: usize) -> Option<usize> {
    let is_number = digits(text, at, 3) == 3
        && kind::is(byte(text, at + 3), SPACE | DOT | DASH)
        && digits(text, at + 4, 4) == 4;
    (is_number && is_boundary(text, at + 8)).then_some(at + 8)
}

/// Matches `(0170) 123 45678`, with or without parentheses.
fn trunk(text: &[u8], start: usize) -> Option<usize> {
    let zero = skip(text, start, OPEN);
    if byte(text, zero) != b'0' || !is_boundary(text, zero) {
        return None;
    }
    (2..=digits(text, zero + 1, 4)).rev().find_map(|area| {
        let after = zero + 1 + area;
        let at = after + usize::from(byte(text, after) == b')');
        if !kind::is(byte(text, at), SPACE | SLASH | DASH) {
            return None;
        }
        (3..=digits(text, at + 1, 4)).rev().find_map(|middle| {
            let last = skip(text, at + 1 + middle, SPACE | DASH);
            (3..=digits(text, last, 5))
                .rev()
                .map(|length| last + length)
                .find(|&end| is_boundary(text, end))
        })
    })
}

/// Finds four numbers with dots, and any further ones, which make it a version.
pub fn ipv4(text: &[u8], from: usize) -> Option<Match> {
    scan(text, from, DIGIT, &|text, start| {
        let mut at = start;
        for number in 0..4 {
            if number > 0 {
                if byte(text, at) != b'.' {
                    return None;
                }
                at += 1;
            }
            let count = digits(text, at, 3);
            if count == 0 {
                return None;
            }
            at += count;
        }
        if !is_boundary(text, at) {
            return None;
        }
        while byte(text, at) == b'.' && byte(text, at + 1).is_ascii_digit() {
            at = run_end(text, at + 1, DIGIT);
        }
        Some(at)
    })
}

/// Finds groups of hexadecimal digits between colons.
pub fn ipv6(text: &[u8], from: usize) -> Option<Match> {
    const GROUPS: usize = 7;
    let mut at = from;
    loop {
        let colon = at + memchr(b':', text.get(at..)?)?;
        // Of many colons in a row, only the last can be part of an address.
        let row = text.get(colon..).unwrap_or_default().iter();
        let row = row.take_while(|byte| **byte == b':').count();
        if row > GROUPS {
            at = colon + row - GROUPS;
            continue;
        }
        at = colon + 1;
        let start = run_start(text, from.max(colon.saturating_sub(4)), colon, HEX);
        let mut end = colon;
        let mut groups = 0;
        // End of the last group with a digit, from the second on: a match must end with a digit.
        let mut with_digit = None;
        while groups < GROUPS && byte(text, end) == b':' {
            let digits = count(text, end + 1, 4, HEX);
            end += 1 + digits;
            groups += 1;
            if groups >= 2 && digits > 0 {
                with_digit = Some(end);
            }
        }
        if groups >= 2 && kind::is(byte(text, end), HEX) {
            with_digit = Some(end + 1);
        }
        if let Some(end) = with_digit {
            return Some(Match::new(start, end));
        }
    }
}
