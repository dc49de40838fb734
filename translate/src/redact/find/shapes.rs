//! Numbers with one fixed shape each: national ids.

use super::kind::{DIGIT, UPPER};
use super::{Match, byte, is_boundary, scan};

/// Finds a word with one of these shapes. In a shape, `9` stands for a digit, `A` for a capital, a
/// space for an optional space, `.` for an optional dot, `~` for an optional space or dash; `:`
/// stands for a required dot and `-` for a required dash, and lowercase letters for the classes in
/// [`is_like`].
fn find(text: &[u8], from: usize, shapes: &[&[u8]]) -> Option<Match> {
    scan(text, from, DIGIT | UPPER, &|text, start| {
        shapes.iter().find_map(|shape| end(text, start, shape))
    })
}

fn end(text: &[u8], mut at: usize, shape: &[u8]) -> Option<usize> {
    for &wanted in shape {
        let found = byte(text, at);
        let may_be_left_out = matches!(wanted, b' ' | b'.' | b'~');
        if is_like(wanted, found) {
            at += 1;
        } else if !may_be_left_out {
            return None;
        }
    }
    is_boundary(text, at).then_some(at)
}

fn is_like(wanted: u8, found: u8) -> bool {
    match wanted {
        b'9' => found.is_ascii_digit(),
        b'A' => found.is_ascii_uppercase(),
        b' ' | b'-' | b'.' => found == wanted,
        b'~' => matches!(found, b' ' | b'-'),
        b':' => found == b'.',
        // France: sex.
        b's' => matches!(found, b'1' | b'2'),
        // Spain: foreigners' prefixes.
        b'f' => matches!(found, b'X' | b'Y' | b'Z'),
        // Italy: months.
        b'm' => b"ABCDEHLMPRST".contains(&found),
        // United Kingdom: prefixes and suffixes.
        b'p' => b"ABCEGHJKLMNOPRSTWXYZ".contains(&found),
        b'q' => b"ABCEGHJKLMNPRSTWXYZ".contains(&found),
        b'e' => matches!(found, b'A'..=b'D'),
        _ => false,
    }
}

pub fn us_ssn(text: &[u8], from: usize) -> Option<Match> {
    find(text, from, &[b"999-99-9999"])
}

pub fn uk_nino(text: &[u8], from: usize) -> Option<Match> {
    find(text, from, &[b"pq 99 99 99 e"])
}

pub fn de_tax_id(text: &[u8], from: usize) -> Option<Match> {
    find(text, from, &[b"99 999 999 999"])
}

pub fn fr_nir(text: &[u8], from: usize) -> Option<Match> {
    scan(text, from, DIGIT, &|text, start| {
        let end = end(text, start, b"s 99 99 99 999 999 99")?;
        let digits = text.get(start..end)?.iter().filter(|byte| **byte != b' ');
        let month: Vec<u8> = digits.skip(3).take(2).copied().collect();
        let is_month = matches!(month.as_slice(), [b'0', b'1'..=b'9'] | [b'1', b'0'..=b'2']);
        is_month.then_some(end)
    })
}

pub fn es_dni(text: &[u8], from: usize) -> Option<Match> {
    find(text, from, &[b"99999999~A", b"f9999999~A"])
}

pub fn it_codice_fiscale(text: &[u8], from: usize) -> Option<Match> {
    find(text, from, &[b"AAAAAA99m99A999A"])
}

pub fn nl_bsn(text: &[u8], from: usize) -> Option<Match> {
    find(text, from, &[b"999999999", b"9999:99:999"])
}

pub fn br_cpf(text: &[u8], from: usize) -> Option<Match> {
    find(text, from, &[b"999.999.999-99"])
}
