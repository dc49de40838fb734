//! Keys, tokens, passwords and email addresses.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use memchr::{memchr, memchr2, memchr3};

use super::kind::{
    self, ALPHANUMERIC, COLON_OR_AT, DASH, DIGIT, DOT, END_OF_VALUE, EQUALS, LETTER, PERCENT, PLUS,
    SLASH, SPACE, STAR, TILDE, UNDERSCORE, UPPER, WHITESPACE, WORD,
};
use super::{Match, before, byte, count, first, is_boundary, is_word, run_end, run_start, skip};

const BASE64_URL: u32 = WORD | DASH;

/// A prefix of issuers' keys, and what follows its separator.
struct Prefix {
    text: &'static [u8],
    separators: u32,
    kinds: u32,
    /// The minimum number of bytes after the separator.
    least: usize,
}

/// The prefix of one issuer, before one of `-_.`.
const fn own(text: &'static [u8]) -> Prefix {
    Prefix {
        text,
        separators: DASH | UNDERSCORE | DOT,
        kinds: WORD | DASH | DOT,
        least: 10,
    }
}

/// A prefix of many issuers, before one of `-_`.
const fn shared(text: &'static [u8]) -> Prefix {
    Prefix {
        text,
        separators: DASH | UNDERSCORE,
        kinds: WORD | DASH | STAR,
        least: 6,
    }
}

/// Returns the prefixes that end with a byte. Trying all of them at each separator would take too
/// long.
fn prefixes(last: u8) -> &'static [Prefix] {
    match last {
        b'k' => {
            const {
                &[
                    shared(b"sk"),
                    shared(b"pk"),
                    shared(b"rk"),
                    own(b"gsk"),
                    own(b"csk"),
                    own(b"otk"),
                ]
            }
        }
        b'i' => const { &[own(b"xai"), own(b"pypi"), own(b"nvapi")] },
        b'f' => const { &[own(b"hf")] },
        b't' => const { &[own(b"glpat"), own(b"github_pat"), own(b"shpat")] },
        b'p' => const { &[own(b"ghp"), own(b"xoxp")] },
        b'o' => const { &[own(b"gho")] },
        b'u' => const { &[own(b"ghu")] },
        b's' => const { &[own(b"ghs"), own(b"xoxs")] },
        b'r' => const { &[own(b"ghr"), own(b"xoxr")] },
        b'm' => const { &[own(b"npm")] },
        b'x' => const { &[own(b"pplx")] },
        b'8' => const { &[own(b"r8")] },
        b'1' => const { &[own(b"dop_v1")] },
        b'y' => const { &[own(b"tvly")] },
        b'c' => const { &[own(b"whsec")] },
        b'G' => const { &[own(b"SG")] },
        b'a' => const { &[own(b"xoxa")] },
        b'b' => const { &[own(b"xoxb")] },
        _ => &[],
    }
}

/// Returns the names of secrets that end with a byte.
fn names(last: u8) -> &'static [&'static [u8]] {
    match last.to_ascii_lowercase() {
        b'y' => &[
            b"apikey",
            b"api_key",
            b"api-key",
            b"accesskey",
            b"access_key",
            b"access-key",
        ],
        b't' => &[b"secret"],
        b'n' => &[b"token"],
        b'd' => &[b"password", b"passwd", b"pwd"],
        b'l' => &[b"credential"],
        b's' => &[b"credentials"],
        _ => &[],
    }
}

// Setting up a search takes longer than reading a few bytes, so the finder is reused.
static BEGIN: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"-----BEGIN "));
static END: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"-----END "));
static GOOGLE: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"AIza"));
static TOKEN: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"eyJ"));
static AUTHORITY: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"://"));

/// Finds a private key in PEM. If its end is missing because the text is truncated, the match ends
/// with the text.
pub fn private_key(text: &[u8], from: usize) -> Option<Match> {
    let (start, body) = pem_line(text, from, &BEGIN)?;
    let end = pem_line(text, body, &END).map_or(text.len(), |(_, end)| end);
    Some(Match::new(start, end))
}

/// Finds a PEM line with this beginning that mentions a private key.
fn pem_line(text: &[u8], mut from: usize, begin: &Finder<'_>) -> Option<(usize, usize)> {
    loop {
        let start = from + begin.find(text.get(from..)?)?;
        let label = start + begin.needle().len();
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
        // No prefix ends with a separator.
        at = run_end(text, separator + 1, DASH | UNDERSCORE | DOT);
        let found = prefixes(before(text, separator)).iter().find_map(|prefix| {
            let start = separator.checked_sub(prefix.text.len())?;
            let is_it = start >= from
                && text.get(start..separator) == Some(prefix.text)
                && !is_word(before(text, start))
                && kind::is(byte(text, separator), prefix.separators);
            is_it.then_some((start, prefix))
        });
        let Some((start, prefix)) = found else {
            continue;
        };
        let end = run_end(text, separator + 1, prefix.kinds);
        if end - separator > prefix.least {
            return Some(Match::new(start, end));
        }
    }
}

pub fn google_key(text: &[u8], from: usize) -> Option<Match> {
    let mut at = from;
    loop {
        let start = at + GOOGLE.find(text.get(at..)?)?;
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
        let start = at + TOKEN.find(text.get(at..)?)?;
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
    const PART: u32 = ALPHANUMERIC | DOT | UNDERSCORE | TILDE | PLUS | SLASH | EQUALS | DASH;
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
        let end = run_end(text, token, PART);
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
        let colon = at + AUTHORITY.find(text.get(at..)?)?;
        at = colon + 3;
        let scheme = run_start(text, from, colon, DIGIT | PLUS | DOT | DASH);
        let has_scheme = scheme > from && before(text, scheme).is_ascii_lowercase();
        if !has_scheme {
            continue;
        }
        let user = first(text, at, END);
        if user == at || byte(text, user) != b':' {
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
        let after = sign + 1;
        at = after;
        // No name ends with a sign.
        while matches!(byte(text, at), b':' | b'=') {
            at += 1;
        }
        let last = before(text, sign);
        if names(last).is_empty() && !is_quote(last) && !kind::is(last, WHITESPACE) {
            continue;
        }
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
        let last = before.last().copied().unwrap_or_default();
        if !names(last).iter().any(is_name) {
            continue;
        }
        let open = run_end(text, after, WHITESPACE);
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
