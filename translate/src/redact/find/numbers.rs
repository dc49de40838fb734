//! Numbers with varying groups: cards, accounts, telephone numbers, IP addresses.

use memchr::memchr;

use super::kind::{self, DASH, DIGIT, DOT, HEX, OPEN, PLUS, SLASH, SPACE, UPPER};
use super::{
    Match, before, byte, count, digits, is_boundary, is_word, run_end, run_start, scan, skip,
};

/// Finds thirteen to nineteen digits, with an optional space or dash between any two.
pub fn card(text: &[u8], from: usize) -> Option<Match> {
    scan(text, from, DIGIT, &|text, start| {
        if is_word(before(text, start)) {
            return None;
        }
        let mut at = start + 1;
        let mut found = None;
        for count in 2..=19 {
            let digit = skip(text, at, SPACE | DASH);
            if !byte(text, digit).is_ascii_digit() {
                break;
            }
            at = digit + 1;
            if count >= 13 && is_boundary(text, at) {
                found = Some(at);
            }
        }
        found
    })
}

/// Finds a country code, two digits, and groups of four.
pub fn iban(text: &[u8], from: usize) -> Option<Match> {
    const PART: u32 = UPPER | DIGIT;
    scan(text, from, UPPER, &|text, start| {
        let is_head = !is_word(before(text, start))
            && byte(text, start + 1).is_ascii_uppercase()
            && digits(text, start + 2, 2) == 2;
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
    scan(text, from, DIGIT | PLUS | OPEN, &|text, start| {
        let is_start = is_boundary(text, start);
        match byte(text, start) {
            b'+' => international(
                text,
                start + 1,
                SPACE | DOT | DASH,
                SPACE | DOT | DASH | SLASH,
            ),
            b'(' => area_in_brackets(text, start).or_else(|| trunk(text, start)),
            b'0' if is_start && byte(text, start + 1) == b'0' => {
                international(text, start + 2, SPACE, SPACE)
                    .or_else(|| three_groups(text, start))
                    .or_else(|| trunk(text, start))
            }
            b'0' if is_start => three_groups(text, start).or_else(|| trunk(text, start)),
            _ if is_start => three_groups(text, start),
            _ => None,
        }
    })
}

/// Matches `+49 (30) 1234 5678` or `0049 30 1234 5678`, after the plus or the zeros.
fn international(text: &[u8], start: usize, separators: u32, in_groups: u32) -> Option<usize> {
    (1..=digits(text, start, 3)).rev().find_map(|country| {
        let mut at = skip(text, start + country, separators);
        if byte(text, at) == b'(' && separators != SPACE {
            let area = digits(text, at + 1, 4);
            if area > 0 && byte(text, at + 1 + area) == b')' {
                at = skip(text, at + area + 2, separators);
            }
        }
        (1..=digits(text, at, 4))
            .rev()
            .find_map(|first| groups(text, at + first, in_groups, 0))
    })
}

/// Two to four groups of two to four digits, each behind a separator or none.
fn groups(text: &[u8], at: usize, separators: u32, count: usize) -> Option<usize> {
    if count < 4 {
        let start = skip(text, at, separators);
        let found = (2..=digits(text, start, 4))
            .rev()
            .find_map(|length| groups(text, start + length, separators, count + 1));
        if found.is_some() {
            return found;
        }
    }
    (count >= 2 && is_boundary(text, at)).then_some(at)
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
        if is_word(before(text, start)) {
            return None;
        }
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
    let mut at = from;
    loop {
        let colon = at + memchr(b':', text.get(at..)?)?;
        at = colon + 1;
        let start = run_start(text, from.max(colon.saturating_sub(4)), colon, HEX);
        let mut end = colon;
        let mut groups = 0;
        // End of the last group with a digit, from the second on: a match must end with a digit.
        let mut with_digit = None;
        while groups < 7 && byte(text, end) == b':' {
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
