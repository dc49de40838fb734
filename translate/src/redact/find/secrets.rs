//! Keys, tokens, passwords and email addresses.

use memchr::{memchr, memchr2, memchr3, memmem};

use super::kind::{
    self, ALPHANUMERIC, COLON_OR_AT, DASH, DIGIT, DOT, END_OF_VALUE, EQUALS, LETTER, PERCENT, PLUS,
    SLASH, SPACE, STAR, TILDE, UPPER, WHITESPACE, WORD,
};
use super::{Match, before, byte, count, first, is_boundary, is_word, run_end, run_start, skip};

const BASE64_URL: u32 = WORD | DASH;

/// Prefixes of issuers' keys, each before one of `-_.` and ten bytes or more.
const PREFIXES: [&[u8]; 27] = [
    b"gsk",
    b"xai",
    b"hf",
    b"glpat",
    b"ghp",
    b"gho",
    b"ghu",
    b"ghs",
    b"ghr",
    b"github_pat",
    b"npm",
    b"pypi",
    b"nvapi",
    b"pplx",
    b"csk",
    b"r8",
    b"dop_v1",
    b"shpat",
    b"tvly",
    b"whsec",
    b"SG",
    b"otk",
    b"xoxa",
    b"xoxb",
    b"xoxp",
    b"xoxr",
    b"xoxs",
];
/// And those of many issuers, before one of `-_` and six bytes or more.
const SHORT_PREFIXES: [&[u8]; 3] = [b"sk", b"pk", b"rk"];
/// Names of secrets before a colon or an equals sign.
const NAMES: [&[u8]; 13] = [
    b"apikey",
    b"api_key",
    b"api-key",
    b"secret",
    b"token",
    b"password",
    b"passwd",
    b"pwd",
    b"accesskey",
    b"access_key",
    b"access-key",
    b"credential",
    b"credentials",
];

/// Finds a private key in PEM. If its end is missing because the text is truncated, the match ends
/// with the text.
pub fn private_key(text: &[u8], from: usize) -> Option<Match> {
    let (start, body) = pem_line(text, from, b"-----BEGIN ")?;
    let end = pem_line(text, body, b"-----END ").map_or(text.len(), |(_, end)| end);
    Some(Match::new(start, end))
}

/// The first line of PEM that begins so and is about a private key.
fn pem_line(text: &[u8], mut from: usize, begin: &[u8]) -> Option<(usize, usize)> {
    loop {
        let start = from + memmem::find(text.get(from..)?, begin)?;
        let label = start + begin.len();
        let end = run_end(text, label, UPPER | SPACE);
        let is_private = text
            .get(label..end)
            .is_some_and(|label| label.ends_with(b"PRIVATE KEY"));
        let is_closed = text
            .get(end..)
            .is_some_and(|rest| rest.starts_with(b"-----"));
        if is_private && is_closed {
            return Some((start, end + 5));
        }
        from = end;
    }
}

/// Finds a key by its issuer's prefix.
pub fn key(text: &[u8], from: usize) -> Option<Match> {
    let mut at = from;
    loop {
        let separator = at + memchr3(b'-', b'_', b'.', text.get(at..)?)?;
        at = separator + 1;
        let is_prefix = |prefix: &&[u8]| {
            let start = separator.checked_sub(prefix.len())?;
            let is_it = start >= from
                && text.get(start..separator) == Some(prefix)
                && !is_word(before(text, start));
            is_it.then_some(start)
        };
        let short = SHORT_PREFIXES
            .iter()
            .filter(|_| byte(text, separator) != b'.');
        let (start, least, kinds) = if let Some(start) = short.into_iter().find_map(is_prefix) {
            (start, 6, WORD | DASH | STAR)
        } else if let Some(start) = PREFIXES.iter().find_map(is_prefix) {
            (start, 10, WORD | DASH | DOT)
        } else {
            continue;
        };
        let end = run_end(text, at, kinds);
        if end - at >= least {
            return Some(Match::new(start, end));
        }
    }
}

pub fn google_key(text: &[u8], from: usize) -> Option<Match> {
    let mut at = from;
    loop {
        let start = at + memmem::find(text.get(at..)?, b"AIza")?;
        at = start + 4;
        if is_word(before(text, start)) {
            continue;
        }
        let end = run_end(text, start, BASE64_URL);
        if end - start >= 34 {
            return Some(Match::new(start, end));
        }
        // Another prefix within these bytes would have too few bytes after it.
        at = end;
    }
}

pub fn aws_key(text: &[u8], from: usize) -> Option<Match> {
    let mut at = from;
    loop {
        let start = at + memchr(b'A', text.get(at..)?)?;
        at = start + 1;
        let rest = text.get(start..).unwrap_or_default();
        let is_key = (rest.starts_with(b"AKIA") || rest.starts_with(b"ASIA"))
            && !is_word(before(text, start))
            && count(text, start + 4, 16, UPPER | DIGIT) == 16
            && is_boundary(text, start + 20);
        if is_key {
            return Some(Match::new(start, start + 20));
        }
    }
}

/// Finds a JSON Web Token.
pub fn jwt(text: &[u8], from: usize) -> Option<Match> {
    let mut at = from;
    loop {
        let start = at + memmem::find(text.get(at..)?, b"eyJ")?;
        at = start + 3;
        if is_word(before(text, start)) {
            continue;
        }
        let header = run_end(text, start, BASE64_URL);
        let payload = run_end(text, header + 1, BASE64_URL);
        let is_token = byte(text, header) == b'.'
            && header - start >= 11
            && byte(text, payload) == b'.'
            && payload - header > 8;
        if is_token {
            let end = run_end(text, payload + 1, BASE64_URL);
            return Some(Match::new(start, end));
        }
        // Everything that begins before this offset ends at the same places, so it is not a token
        // either.
        at = header;
    }
}

/// Finds `Bearer` and its token.
pub fn bearer(text: &[u8], from: usize) -> Option<Match> {
    const WORD: &[u8] = b"bearer";
    const TOKEN: u32 = ALPHANUMERIC | DOT | kind::UNDERSCORE | TILDE | PLUS | SLASH | EQUALS | DASH;
    let mut at = from;
    loop {
        let start = at + memchr2(b'b', b'B', text.get(at..)?)?;
        at = start + 1;
        let after = start + WORD.len();
        let is_it = text
            .get(start..after)
            .is_some_and(|word| word.eq_ignore_ascii_case(WORD));
        if !is_it || is_word(before(text, start)) {
            continue;
        }
        let token = run_end(text, after, WHITESPACE);
        let end = run_end(text, token, TOKEN);
        if token > after && end - token >= 8 {
            return Some(Match::new(start, end));
        }
        at = after;
    }
}

/// Finds the password in `scheme://user:password@host`.
pub fn url_password(text: &[u8], from: usize) -> Option<Match> {
    const END: u32 = WHITESPACE | COLON_OR_AT | SLASH;
    let mut at = from;
    loop {
        let colon = at + memmem::find(text.get(at..)?, b"://")?;
        at = colon + 3;
        let scheme = run_start(text, from, colon, DIGIT | PLUS | DOT | DASH);
        let has_scheme = scheme > from && before(text, scheme).is_ascii_lowercase();
        let user = first(text, at, END);
        if !has_scheme || user == at || byte(text, user) != b':' {
            continue;
        }
        let password = user + 1;
        let end = first(text, password, END);
        if end > password && byte(text, end) == b'@' {
            return Some(Match {
                start: password,
                end,
                next: end + 1,
            });
        }
    }
}

/// Finds values that are named as secrets: `api_key: …`, `"password": "…"`, `token=…`.
pub fn named(text: &[u8], from: usize) -> Option<Match> {
    let is_quote = |byte: u8| matches!(byte, b'"' | b'\'');
    let mut at = from;
    loop {
        let sign = at + memchr2(b':', b'=', text.get(at..)?)?;
        at = sign + 1;
        let quote = run_start(text, from, sign, WHITESPACE);
        let is_quoted = quote > from && is_quote(before(text, quote));
        let before = text
            .get(from..quote - usize::from(is_quoted))
            .unwrap_or_default();
        let is_name = |name: &&[u8]| {
            before
                .len()
                .checked_sub(name.len())
                .and_then(|start| before.get(start..))
                .is_some_and(|end| end.eq_ignore_ascii_case(name))
        };
        if !NAMES.iter().any(is_name) {
            continue;
        }
        let open = run_end(text, at, WHITESPACE);
        let value = open + usize::from(is_quote(byte(text, open)));
        let end = first(text, value, WHITESPACE | END_OF_VALUE);
        // Counts characters, not bytes.
        let starts = text.get(value..end).unwrap_or_default().iter();
        if starts.filter(|byte| (**byte as i8) >= -0x40).count() >= 6 {
            return Some(Match::new(value, end));
        }
    }
}

/// Finds possible tokens: long runs without spaces.
pub fn token(text: &[u8], from: usize) -> Option<Match> {
    const PART: u32 = WORD | PLUS | SLASH | DASH;
    let mut at = from;
    loop {
        let start = first(text, at, PART);
        if start >= text.len() {
            return None;
        }
        let longest = text.get(..start + 200).unwrap_or(text);
        let end = run_end(longest, start, PART);
        if end - start >= 20 {
            return Some(Match {
                start,
                end,
                next: skip(text, skip(text, end, EQUALS), EQUALS),
            });
        }
        at = end;
    }
}

pub fn email(text: &[u8], from: usize) -> Option<Match> {
    const LOCAL: u32 = WORD | DOT | PERCENT | PLUS | DASH;
    let mut at = from;
    loop {
        let sign = at + memchr(b'@', text.get(at..)?)?;
        at = sign + 1;
        let start = run_start(text, from, sign, LOCAL);
        if start < sign
            && let Some(end) = domain_end(text, at)
        {
            return Some(Match::new(start, end));
        }
    }
}

/// Returns the end of the host name at an offset: its last label begins with two letters, and
/// whatever follows them is excluded.
fn domain_end(text: &[u8], start: usize) -> Option<usize> {
    const PART: u32 = ALPHANUMERIC | DASH;
    let mut at = run_end(text, start, PART);
    if at == start {
        return None;
    }
    let mut found = None;
    while byte(text, at) == b'.' {
        let label = at + 1;
        let letters = run_end(text, label, LETTER);
        if letters - label >= 2 {
            found = Some(letters);
        }
        at = run_end(text, label, PART);
        if at == label {
            break;
        }
    }
    found
}

/// Searches for keys that are recognizable in any context.
pub const KEYS: [super::Find; 6] = [private_key, key, google_key, aws_key, jwt, bearer];
