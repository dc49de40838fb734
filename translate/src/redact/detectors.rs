//! The detectors: each is a search and a check of its matches.

use regex_lite::Regex;

use crate::redact::checks;
use crate::redact::find::{Find, numbers, secrets, shapes};

/// Detectors that are active by default.
pub const DEFAULT: [&str; 6] = ["secret", "email", "iban", "card", "phone", "ip"];
/// Optional detectors, because relevant ids depend on the country.
pub const NATIONAL_IDS: [&str; 8] = [
    "us_ssn",
    "uk_nino",
    "de_tax_id",
    "fr_nir",
    "es_dni",
    "it_codice_fiscale",
    "nl_bsn",
    "br_cpf",
];

pub const SECRET: &str = "secret";

/// Maximum compiled size of an operator's pattern: the time per byte of text is proportional to it.
const MAX_PATTERN_BYTES: usize = 64 << 10;

/// Returns true if a match is genuine; the arguments are the text before it and the match.
type Check = fn(&str, &str) -> bool;

pub struct Detector {
    search: Search,
    mask: String,
    check: Check,
}

enum Search {
    BuiltIn(Find),
    /// An operator's own pattern. If it has a group, only the group is masked.
    Pattern {
        regex: Regex,
        /// Required substring: a text without it has no match.
        literal: String,
    },
}

/// Keys and tokens: by their issuers' prefixes, after `Bearer` or the name of a secret, or too
/// random to be a word.
const SECRETS: [(Find, Check); 3] = [
    (secrets::url_password, always),
    (secrets::named, has_a_letter),
    (secrets::token, checks::random),
];

fn always(_: &str, _: &str) -> bool {
    true
}

/// A plain number is not a secret, whatever its name.
fn has_a_letter(_: &str, text: &str) -> bool {
    text.contains(|c: char| c.is_alphabetic())
}

/// A message about `Bearer authentication` contains no key.
fn has_a_digit(_: &str, text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_digit() || c == '*')
}

/// Returns the parts of a detector, by its name.
pub fn find(name: &str) -> Option<Vec<Detector>> {
    let parts: &[(Find, Check)] = match name {
        SECRET => {
            let keys = secrets::KEYS.map(|find| (find, always as Check));
            let all = keys.into_iter().chain(SECRETS);
            return Some(all.map(|part| Detector::built_in(name, part)).collect());
        }
        "email" => &[(secrets::email, always)],
        "iban" => &[(numbers::iban, checks::iban)],
        "card" => &[(numbers::card, checks::card)],
        "phone" => &[(numbers::phone, checks::phone)],
        "ip" => &[(numbers::ipv4, checks::ipv4), (numbers::ipv6, checks::ipv6)],
        "us_ssn" => &[(shapes::us_ssn, checks::us_ssn)],
        "uk_nino" => &[(shapes::uk_nino, always)],
        "de_tax_id" => &[(shapes::de_tax_id, checks::de_tax_id)],
        "fr_nir" => &[(shapes::fr_nir, checks::fr_nir)],
        "es_dni" => &[(shapes::es_dni, checks::es_dni)],
        "it_codice_fiscale" => &[(shapes::it_codice_fiscale, always)],
        "nl_bsn" => &[(shapes::nl_bsn, checks::nl_bsn)],
        "br_cpf" => &[(shapes::br_cpf, checks::br_cpf)],
        _ => return None,
    };
    let parts = parts.iter();
    Some(parts.map(|part| Detector::built_in(name, *part)).collect())
}

/// Returns the parts that recognize a key in any context.
pub fn keys() -> Vec<Detector> {
    let keys = secrets::KEYS.into_iter();
    keys.map(|find| Detector::built_in(SECRET, (find, has_a_digit)))
        .collect()
}

impl Detector {
    fn built_in(name: &str, (find, check): (Find, Check)) -> Self {
        Self {
            search: Search::BuiltIn(find),
            mask: match NATIONAL_IDS.contains(&name) {
                true => "[NATIONAL_ID]".to_owned(),
                false => format!("[{}]", name.to_uppercase()),
            },
            check,
        }
    }

    /// Builds a detector from an operator's pattern; its matches become `[NAME]`.
    pub fn of_pattern(name: &str, pattern: &str) -> Result<Self, regex_lite::Error> {
        let regex = regex_lite::RegexBuilder::new(pattern)
            .size_limit(MAX_PATTERN_BYTES)
            .build()?;
        Ok(Self {
            search: Search::Pattern {
                regex,
                literal: literal_prefix(pattern).to_owned(),
            },
            mask: format!("[{}]", name.to_uppercase()),
            check: always,
        })
    }

    /// Returns the text with all matches masked; `None` if nothing matched.
    pub fn mask(&self, text: &str) -> Option<String> {
        let mut masked = String::new();
        let mut copied = 0;
        let mut found = |start: usize, end: usize| {
            let before = text.get(..start).unwrap_or_default();
            let value = text.get(start..end).unwrap_or_default();
            if value.is_empty() || !(self.check)(before, value) {
                return;
            }
            masked.push_str(text.get(copied..start).unwrap_or_default());
            masked.push_str(&self.mask);
            copied = end;
        };
        match &self.search {
            Search::BuiltIn(find) => {
                let mut from = 0;
                while let Some(next) = find(text.as_bytes(), from) {
                    found(next.start, next.end);
                    from = next.next;
                }
            }
            Search::Pattern { regex, literal } => {
                if !text.contains(literal) {
                    return None;
                }
                for captures in regex.captures_iter(text) {
                    if let Some(part) = captures.get(1).or_else(|| captures.get(0)) {
                        found(part.start(), part.end());
                    }
                }
            }
        }
        if copied == 0 {
            return None;
        }
        masked.push_str(text.get(copied..).unwrap_or_default());
        Some(masked)
    }
}

/// Returns the literal prefix of every match of a pattern; empty if it can't be determined.
fn literal_prefix(pattern: &str) -> &str {
    if pattern.contains('|') {
        return "";
    }
    let end = pattern
        .find(|c: char| {
            !c.is_alphanumeric() && !matches!(c, '-' | '_' | ' ' | '@' | ':' | '/' | '=')
        })
        .unwrap_or(pattern.len());
    let (literal, rest) = pattern.split_at(end);
    if rest.starts_with(['?', '*', '{']) {
        // A part that may repeat zero times is not in every match.
        let last = literal.char_indices().next_back();
        return last.map_or("", |(at, _)| literal.split_at(at).0);
    }
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patterns_literal_is_part_of_every_match() {
        for (pattern, literal) in [
            (r"EMP-\d{6}", "EMP-"),
            (r"EMP-?\d", "EMP"),
            ("ab*", "a"),
            ("ab+", "ab"),
            ("a|b", ""),
            ("(?i)emp", ""),
            (r"\bEMP", ""),
            ("[A-Z]x", ""),
        ] {
            assert_eq!(literal_prefix(pattern), literal, "{pattern}");
        }
    }

    #[test]
    fn a_pattern_that_is_too_large_is_refused() {
        assert!(Detector::of_pattern("x", "(?:[a-z]{1000}){1000}").is_err());
    }
}
