//! Checks that distinguish meaningful numbers from similar ones.

use std::net::{Ipv4Addr, Ipv6Addr};

fn digits(text: &str) -> Vec<u32> {
    text.chars().filter_map(|c| c.to_digit(10)).collect()
}

/// Checks a payment card: an issuer's first digit, and the check digit of ISO/IEC 7812.
pub fn card(before: &str, text: &str) -> bool {
    let digits = || text.bytes().filter(u8::is_ascii_digit);
    let sum: u32 = digits()
        .rev()
        .zip([false, true].into_iter().cycle())
        .map(
            |(digit, is_doubled)| match (is_doubled, u32::from(digit - b'0') * 2) {
                (false, doubled) => doubled / 2,
                (true, doubled) if doubled > 9 => doubled - 9,
                (true, doubled) => doubled,
            },
        )
        .sum();
    matches!(digits().next(), Some(b'2'..=b'6'))
        && sum.is_multiple_of(10)
        && !follows_digits(before)
}

/// Returns true if a number continues the digits before it, as in a grouped account number.
fn follows_digits(before: &str) -> bool {
    before
        .trim_end_matches(' ')
        .ends_with(|c: char| c.is_ascii_digit())
}

/// Checks an IBAN: the remainder of ISO 7064 MOD 97-10.
pub fn iban(_: &str, text: &str) -> bool {
    let plain: Vec<char> = text.chars().filter(|c| *c != ' ').collect();
    if !(15..=34).contains(&plain.len()) {
        return false;
    }
    let moved = plain.iter().skip(4).chain(plain.iter().take(4));
    let remainder = moved.fold(0, |remainder, c| match c.to_digit(36) {
        Some(value @ 0..10) => (remainder * 10 + value) % 97,
        Some(value) => (remainder * 100 + value) % 97,
        None => remainder,
    });
    remainder == 1
}

/// Checks a telephone number: nine to fifteen digits (E.164), and not part of a longer number.
pub fn phone(before: &str, text: &str) -> bool {
    let goes_on =
        before.ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '/' | '#'));
    !goes_on && !follows_digits(before) && (9..=15).contains(&digits(text).len())
}

/// Checks an IPv4 address: neither this machine's own nor a version number.
pub fn ipv4(before: &str, text: &str) -> bool {
    let word = before.trim_end();
    let is_version = before.ends_with(['v', 'V', '.', '-'])
        || word.ends_with('§')
        || ["version", "release", "section"].iter().any(|end| {
            let start = word.len().checked_sub(end.len());
            let last = start.and_then(|start| word.as_bytes().get(start..));
            last.is_some_and(|last| last.eq_ignore_ascii_case(end.as_bytes()))
        });
    let address: Result<Ipv4Addr, _> = text.parse();
    !is_version
        && address.is_ok_and(|address| {
            !address.is_loopback() && !address.is_unspecified() && !address.is_broadcast()
        })
}

pub fn ipv6(before: &str, text: &str) -> bool {
    // `std::fmt` and `a::b` are not addresses, `fe80::1` is.
    let is_name = before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == ':' || c == '_');
    let bytes = text.as_bytes();
    let has_digit = bytes.iter().any(u8::is_ascii_digit);
    // A time of day has colons too.
    let is_whole = || {
        bytes.windows(2).any(|pair| pair == b"::")
            || bytes.iter().filter(|byte| **byte == b':').count() == 7
    };
    !is_name
        && has_digit
        && is_whole()
        && text
            .parse()
            .is_ok_and(|address: Ipv6Addr| !address.is_loopback() && !address.is_unspecified())
}

/// Checks for randomness: letters of both cases mixed with digits, in an order that no word has.
pub fn random(_: &str, text: &str) -> bool {
    let count = |is: fn(&char) -> bool| text.chars().filter(is).count();
    let changes = text
        .as_bytes()
        .windows(2)
        .filter(|pair| matches!(pair, [a, b] if a.is_ascii_digit() != b.is_ascii_digit()))
        .count();
    count(char::is_ascii_uppercase) >= 2
        && count(char::is_ascii_lowercase) >= 2
        && count(char::is_ascii_digit) >= 3
        && changes * 8 >= text.len()
        && entropy(text) >= 3.5
}

/// Returns the Shannon entropy in bits per character.
fn entropy(text: &str) -> f64 {
    let mut counts = [0u32; 128];
    for byte in text.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let length = text.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|&count| {
            let share = f64::from(count) / length;
            -share * share.log2()
        })
        .sum()
}

/// United States, Social Security number: areas that were never issued are excluded.
pub fn us_ssn(before: &str, text: &str) -> bool {
    let area = text.get(..3).unwrap_or_default();
    let group = text.get(4..6).unwrap_or_default();
    let serial = text.get(7..).unwrap_or_default();
    !matches!(area, "000" | "666")
        && !area.starts_with('9')
        && group != "00"
        && serial != "0000"
        && !before.ends_with(['-', '.', '/'])
}

/// Germany, Steuer-ID: ISO 7064 MOD 11,10.
pub fn de_tax_id(_: &str, text: &str) -> bool {
    let digits = digits(text);
    let Some((check, rest)) = digits.split_last() else {
        return false;
    };
    let product = rest.iter().fold(10, |product, digit| {
        let sum = match (product + digit) % 10 {
            0 => 10,
            sum => sum,
        };
        sum * 2 % 11
    });
    digits.len() == 11 && rest.first() != Some(&0) && (11 - product) % 10 == *check
}

/// France, NIR: the last two digits are 97 less the remainder.
pub fn fr_nir(_: &str, text: &str) -> bool {
    let digits = digits(text);
    let Some((number, key)) = digits.split_at_checked(13) else {
        return false;
    };
    let value = |digits: &[u32]| {
        digits
            .iter()
            .fold(0u64, |value, digit| value * 10 + u64::from(*digit))
    };
    key.len() == 2 && 97 - value(number) % 97 == value(key)
}

/// Spain, DNI and NIE: the letter is derived from the number.
pub fn es_dni(_: &str, text: &str) -> bool {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let plain: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    let plain = plain
        .replacen('X', "0", usize::from(plain.starts_with('X')))
        .replacen('Y', "1", usize::from(plain.starts_with('Y')))
        .replacen('Z', "2", usize::from(plain.starts_with('Z')));
    let Some((number, letter)) = plain.split_at_checked(8) else {
        return false;
    };
    let wanted = number
        .parse::<usize>()
        .ok()
        .and_then(|number| LETTERS.get(number % 23));
    wanted.is_some_and(|wanted| letter.as_bytes() == [*wanted])
}

/// The Netherlands, BSN: the sum with weights 9 to 2 and -1 is a multiple of 11.
pub fn nl_bsn(before: &str, text: &str) -> bool {
    let digits: Vec<i64> = digits(text).into_iter().map(i64::from).collect();
    let weights = [9, 8, 7, 6, 5, 4, 3, 2, -1];
    let sum: i64 = digits
        .iter()
        .zip(weights)
        .map(|(digit, weight)| digit * weight)
        .sum();
    let goes_on =
        before.ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '+'));
    digits.len() == 9 && !goes_on && sum != 0 && sum % 11 == 0
}

/// Brazil, CPF: two check digits.
pub fn br_cpf(_: &str, text: &str) -> bool {
    let digits = digits(text);
    let check = |length: usize| {
        let weighted = digits.iter().take(length).enumerate();
        let sum: u32 = weighted
            .map(|(index, digit)| digit * u32::try_from(length + 1 - index).unwrap_or(0))
            .sum();
        match sum * 10 % 11 {
            10 => 0,
            rest => rest,
        }
    };
    digits.len() == 11 && digits.get(9) == Some(&check(9)) && digits.get(10) == Some(&check(10))
}
