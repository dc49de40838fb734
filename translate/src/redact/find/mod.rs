//! Searches text for the detectors, without regular expressions.
//!
//! A trace's text is masked on Envoy's worker thread, so speed matters: each search first looks for
//! a byte that every match contains, and reads on only there. Every byte is read at most a small
//! constant number of times, whatever the text: after a failure, a search continues behind the
//! bytes it has read, unless they could be part of another match; then it has read only a few.

pub mod numbers;
pub mod secrets;
pub mod shapes;

/// A match, as byte offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// Start of the text to mask, which ends before `end`.
    pub start: usize,
    pub end: usize,
    /// Offset at which the search continues.
    pub next: usize,
}

impl Match {
    fn new(start: usize, end: usize) -> Self {
        Self {
            start,
            end,
            next: end,
        }
    }
}

/// Finds the first match that begins at an offset or later.
pub type Find = fn(&[u8], usize) -> Option<Match>;

/// Kinds of bytes, combined with `|`.
///
/// Searches use kinds instead of closures, so that one loop is compiled for all of them: the filter
/// should be small.
mod kind {
    pub const DIGIT: u32 = 1;
    pub const UPPER: u32 = 1 << 1;
    pub const LOWER: u32 = 1 << 2;
    pub const UNDERSCORE: u32 = 1 << 3;
    pub const DASH: u32 = 1 << 4;
    pub const DOT: u32 = 1 << 5;
    pub const PLUS: u32 = 1 << 6;
    pub const SLASH: u32 = 1 << 7;
    pub const PERCENT: u32 = 1 << 8;
    pub const TILDE: u32 = 1 << 9;
    pub const EQUALS: u32 = 1 << 10;
    pub const STAR: u32 = 1 << 11;
    pub const WHITESPACE: u32 = 1 << 12;
    pub const COLON_OR_AT: u32 = 1 << 13;
    pub const OPEN: u32 = 1 << 14;
    /// Characters that end a value in a text: quotes, separators, brackets.
    pub const END_OF_VALUE: u32 = 1 << 15;
    pub const HEX_LETTER: u32 = 1 << 16;
    pub const SPACE: u32 = 1 << 17;

    pub const LETTER: u32 = UPPER | LOWER;
    pub const ALPHANUMERIC: u32 = LETTER | DIGIT;
    pub const WORD: u32 = ALPHANUMERIC | UNDERSCORE;
    pub const HEX: u32 = DIGIT | HEX_LETTER;

    const fn of(byte: u8) -> u32 {
        match byte {
            b'0'..=b'9' => DIGIT,
            b'A'..=b'F' => UPPER | HEX_LETTER,
            b'G'..=b'Z' => UPPER,
            b'a'..=b'f' => LOWER | HEX_LETTER,
            b'g'..=b'z' => LOWER,
            b'_' => UNDERSCORE,
            b'-' => DASH,
            b'.' => DOT,
            b'+' => PLUS,
            b'/' => SLASH,
            b'%' => PERCENT,
            b'~' => TILDE,
            b'=' => EQUALS,
            b'*' => STAR,
            b' ' => WHITESPACE | SPACE,
            b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => WHITESPACE,
            b':' | b'@' => COLON_OR_AT,
            b'(' => OPEN,
            b'"' | b'\'' | b',' | b';' | b'<' | b'>' | b'{' | b'}' | b'[' | b']' => END_OF_VALUE,
            _ => 0,
        }
    }

    // Built at compile time, where a wrong index is an error.
    #[allow(clippy::indexing_slicing)]
    static OF: [u32; 256] = {
        let mut of_all = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            of_all[byte] = of(byte as u8);
            byte += 1;
        }
        of_all
    };

    /// Returns true if one of these bytes is of one of these kinds.
    #[inline]
    pub fn is_any(bytes: [u8; 4], kinds: u32) -> bool {
        let all = bytes.map(|byte| OF.get(usize::from(byte)).copied().unwrap_or_default());
        all.iter().fold(0, |all, of| all | of) & kinds != 0
    }

    /// Returns true if a byte is of one of these kinds.
    #[inline]
    pub fn is(byte: u8, kinds: u32) -> bool {
        OF.get(usize::from(byte)).is_some_and(|of| of & kinds != 0)
    }
}

#[inline]
fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or_default()
}

/// Returns the byte before an offset; 0 at the beginning.
#[inline]
fn before(text: &[u8], at: usize) -> u8 {
    at.checked_sub(1).map_or(0, |at| byte(text, at))
}

#[inline]
fn is_word(byte: u8) -> bool {
    kind::is(byte, kind::WORD)
}

/// Returns true if a word begins or ends at an offset.
fn is_boundary(text: &[u8], at: usize) -> bool {
    is_word(before(text, at)) != is_word(byte(text, at))
}

/// Returns the first offset from `start` on whose byte is of these kinds, or the end of the text.
#[inline(never)]
fn first(text: &[u8], start: usize, kinds: u32) -> usize {
    let mut rest = text.get(start..).unwrap_or_default();
    // Four at a time: most of a text is of no interest.
    while let [a, b, c, d, after @ ..] = rest
        && !kind::is_any([*a, *b, *c, *d], kinds)
    {
        rest = after;
    }
    let found = rest.iter().position(|&byte| kind::is(byte, kinds));
    text.len().max(start) - rest.len() + found.unwrap_or(rest.len())
}

/// Returns the end of the run of these bytes that starts at an offset.
#[inline(never)]
fn run_end(text: &[u8], start: usize, kinds: u32) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    let found = rest.iter().position(|&byte| !kind::is(byte, kinds));
    start + found.unwrap_or(rest.len())
}

/// Returns the start of the run of these bytes that ends before an offset; never less than `from`.
#[inline(never)]
fn run_start(text: &[u8], from: usize, end: usize, kinds: u32) -> usize {
    let rest = text.get(from..end).unwrap_or_default();
    let found = rest.iter().rposition(|&byte| !kind::is(byte, kinds));
    from + found.map_or(0, |at| at + 1)
}

/// Counts the run of these bytes that starts at an offset, up to a limit.
#[inline(never)]
fn count(text: &[u8], start: usize, most: usize, kinds: u32) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    rest.iter()
        .take(most)
        .take_while(|byte| kind::is(**byte, kinds))
        .count()
}

fn digits(text: &[u8], start: usize, most: usize) -> usize {
    count(text, start, most, kind::DIGIT)
}

/// Returns the offset after an optional byte of these kinds.
fn skip(text: &[u8], at: usize, kinds: u32) -> usize {
    at + usize::from(kind::is(byte(text, at), kinds))
}

/// Finds the first word from an offset on that begins with a byte of these kinds, and for which
/// `end` returns the end of a match.
#[inline(never)]
fn scan(
    text: &[u8],
    from: usize,
    begins: u32,
    end: &dyn Fn(&[u8], usize) -> Option<usize>,
) -> Option<Match> {
    let mut at = from;
    loop {
        let start = first(text, at, begins);
        if start >= text.len() {
            return None;
        }
        if !is_word(before(text, start))
            && let Some(end) = end(text, start)
        {
            return Some(Match::new(start, end));
        }
        at = run_end(text, start + 1, kind::WORD);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use proptest::prelude::*;
    use regex_lite::Regex;

    /// Each search with its equivalent regular expression.
    const SAME: &[(&str, Find, &str)] = &[
        (
            "key",
            secrets::key,
            r"\b(?:(?:sk|pk|rk)[-_][A-Za-z0-9_*-]{6,}|(?:gsk|xai|hf|glpat|ghp|gho|ghu|ghs|ghr|github_pat|npm|pypi|nvapi|pplx|csk|r8|dop_v1|shpat|tvly|whsec|SG|otk|xox[abprs])[-_.][A-Za-z0-9_.-]{10,})",
        ),
        ("google", secrets::google_key, r"\bAIza[A-Za-z0-9_-]{30,}"),
        ("aws", secrets::aws_key, r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
        (
            "jwt",
            secrets::jwt,
            r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
        ),
        (
            "bearer",
            secrets::bearer,
            r"(?i)\bbearer\s+[A-Za-z0-9._~+/=-]{8,}",
        ),
        (
            "password in a URL",
            secrets::url_password,
            r"[a-z][a-z0-9+.-]*://[^\s:/@]+:([^\s:/@]+)@",
        ),
        (
            "named",
            secrets::named,
            r#"(?i)(?:api[_-]?key|secret|token|password|passwd|pwd|access[_-]?key|credentials?)["']?\s*[:=]\s*["']?([^\s"',;<>{}\[\]]{6,})"#,
        ),
        ("random", secrets::token, r"([A-Za-z0-9_+/-]{20,200})={0,2}"),
        (
            "email",
            secrets::email,
            r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}",
        ),
        (
            "iban",
            numbers::iban,
            r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b",
        ),
        ("card", numbers::card, r"\b\d(?:[ -]?\d){12,18}\b"),
        (
            "phone",
            numbers::phone,
            r"\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ ./-]?\d{2,4}){2,4}\b|\b00\d{1,3} ?\d{1,4}(?: ?\d{2,4}){2,4}\b|\(\d{3}\) ?\d{3}[ .-]\d{4}\b|\b\d{3}[ .-]\d{3}[ .-]\d{4}\b|\(?\b0\d{2,4}\)?[ /-]\d{3,4}[ -]?\d{3,5}\b",
        ),
        (
            "ipv4",
            numbers::ipv4,
            r"\b\d{1,3}(?:\.\d{1,3}){3}\b(?:\.\d+)*",
        ),
        (
            "ipv6",
            numbers::ipv6,
            r"(?:[0-9A-Fa-f]{1,4})?(?::[0-9A-Fa-f]{0,4}){2,7}[0-9A-Fa-f]",
        ),
        ("us_ssn", shapes::us_ssn, r"\b\d{3}-\d{2}-\d{4}\b"),
        (
            "uk_nino",
            shapes::uk_nino,
            r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b",
        ),
        (
            "de_tax_id",
            shapes::de_tax_id,
            r"\b\d{2} ?\d{3} ?\d{3} ?\d{3}\b",
        ),
        (
            "fr_nir",
            shapes::fr_nir,
            r"\b[12] ?\d{2} ?(?:0[1-9]|1[0-2]) ?\d{2} ?\d{3} ?\d{3} ?\d{2}\b",
        ),
        (
            "es_dni",
            shapes::es_dni,
            r"\b(?:\d{8}|[XYZ]\d{7})[- ]?[A-Z]\b",
        ),
        (
            "it_codice_fiscale",
            shapes::it_codice_fiscale,
            r"\b[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]\b",
        ),
        (
            "nl_bsn",
            shapes::nl_bsn,
            r"\b\d{9}\b|\b\d{4}\.\d{2}\.\d{3}\b",
        ),
        ("br_cpf", shapes::br_cpf, r"\b\d{3}\.?\d{3}\.?\d{3}-\d{2}\b"),
    ];

    fn all(find: Find, text: &str) -> Vec<(usize, usize)> {
        let mut from = 0;
        let mut found = Vec::new();
        while let Some(next) = find(text.as_bytes(), from) {
            assert!(next.next > from && next.start < next.end, "{next:?}");
            found.push((next.start, next.end));
            from = next.next;
        }
        found
    }

    static REGEXES: LazyLock<Vec<Regex>> = LazyLock::new(|| {
        let patterns = SAME.iter().map(|(_, _, pattern)| pattern);
        patterns.map(|it| Regex::new(it).unwrap()).collect()
    });

    fn same(text: &str) {
        for ((name, find, _), regex) in SAME.iter().zip(REGEXES.iter()) {
            let expected: Vec<(usize, usize)> = regex
                .captures_iter(text)
                .map(|found| {
                    let found = found.get(1).or_else(|| found.get(0)).unwrap();
                    (found.start(), found.end())
                })
                .collect();
            assert_eq!(all(*find, text), expected, "{name}: {text:?}");
        }
    }

    #[test]
    fn the_corpus_is_searched_as_by_regular_expressions() {
        const CORPUS: &str = include_str!("../../../fixtures/redaction/corpus.txt");
        CORPUS.lines().for_each(same);
        CORPUS
            .lines()
            .for_each(|line| same(&line.replace(['⟦', '⟧'], " ")));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn any_text_is_searched_as_by_regular_expressions(
            pieces in prop::collection::vec(prop_oneof![
                4 => prop::sample::select(vec![
                    "1", "0", "00", "+49", "123", "4567", "12", " ", "-", ".", "/", "(", ")", ":", "=", "@", "a", "B", "zz", "F0",
                    "DE", "AB1", "_", "é", "sk-", "ghp_", "github_pat_", "AIza", "AKIA", "eyJ", "bearer", "Bearer ", "://", "http",
                    "token", "api_key", "\"", "'", "=", "X", "co", "192.168.0.1", "::", "abcdefgh", "Ab1Cd2Ef3G",
                ]).prop_map(str::to_owned),
                1 => "[A-Za-z0-9 .:@=_-]{1,12}",
            ], 0..14)
        ) {
            same(&pieces.concat());
        }

        #[test]
        fn any_numbers_are_searched_as_by_regular_expressions(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "1", "0", "00", "12", "123", "1234", "12345", "12345678", " ", " ", "-", ".", "/", "(", ")", "+", "+1", "a", ":", "::",
            ]), 0..24)
        ) {
            same(&pieces.concat());
        }
    }
}
