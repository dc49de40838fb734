//! Masks personal data and secrets in recorded text.
//!
//! A detector errs on the side of masking: a number that looks like a card but fails its check digit is left alone, a
//! string that looks like a key is masked even if no provider issued it.

use crate::json;
use std::borrow::Cow;
use std::sync::LazyLock;

use regex_lite::{Captures, Regex};
use serde_json::Value;

struct Detector {
    pattern: Regex,
    mask: &'static str,
    confirm: fn(&str) -> bool,
}

fn detector(pattern: &str, mask: &'static str, confirm: fn(&str) -> bool) -> Option<Detector> {
    Some(Detector {
        pattern: Regex::new(pattern).ok()?,
        mask,
        confirm,
    })
}

/// Keys and tokens, by the prefixes their issuers give them, and whatever follows `Bearer`.
const SECRET_PATTERNS: &[&str] = &[
    r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_*-]{6,}",
    r"\b(?:gsk|xai|hf|glpat|ghp|gho|ghu|ghs|github_pat|npm|pypi|nvapi|pplx|csk|r8|xox[abprs])[-_][A-Za-z0-9_-]{10,}",
    r"\bAIza[A-Za-z0-9_-]{30,}",
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    r"(?i)\bbearer\s+[A-Za-z0-9._~+/=-]{8,}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----",
];

static SECRETS: LazyLock<Vec<Detector>> = LazyLock::new(|| {
    SECRET_PATTERNS
        .iter()
        .filter_map(|pattern| detector(pattern, "[SECRET]", |_| true))
        .collect()
});

static PERSONAL: LazyLock<Vec<Detector>> = LazyLock::new(|| {
    [
        detector(
            r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}",
            "[EMAIL]",
            |_| true,
        ),
        detector(r"\b\d(?:[ -]?\d){12,18}\b", "[CARD]", passes_luhn),
        detector(
            r"(?:\+|\b00)\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,4}\b|\(\d{3}\) ?\d{3}[ .-]\d{4}\b|\b\d{3}[ .-]\d{3}[ .-]\d{4}\b",
            "[PHONE]",
            |_| true,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
});

/// Masks keys and tokens.
pub fn mask_secrets(text: &str) -> Cow<'_, str> {
    mask(Cow::Borrowed(text), &SECRETS)
}

/// Masks e-mail addresses, phone and card numbers, keys and tokens.
pub fn mask_text(text: &str) -> Cow<'_, str> {
    mask(mask_secrets(text), &PERSONAL)
}

/// Masks every text in a JSON body, apart from the words of the protocol itself.
///
/// A body that is not JSON is masked as text.
pub fn mask_body(body: &[u8]) -> Vec<u8> {
    match json::from_bytes::<Value>(body) {
        Ok(mut value) => {
            mask_value(&mut value);
            serde_json::to_vec(&value).unwrap_or_default()
        }
        Err(_) => mask_text(&String::from_utf8_lossy(body))
            .into_owned()
            .into_bytes(),
    }
}

fn mask_value(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(masked) = mask_text(text) {
                *text = masked;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask_value),
        Value::Object(members) => {
            for (name, value) in members {
                let of_the_protocol = matches!(
                    name.as_str(),
                    "model" | "role" | "type" | "id" | "tool_call_id" | "object" | "finish_reason"
                );
                if !of_the_protocol {
                    mask_value(value);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn mask<'t>(mut text: Cow<'t, str>, detectors: &[Detector]) -> Cow<'t, str> {
    for detector in detectors {
        let masked = detector.pattern.replace_all(&text, |found: &Captures<'_>| {
            let found = found.get(0).map_or("", |found| found.as_str());
            if (detector.confirm)(found) {
                detector.mask.to_owned()
            } else {
                found.to_owned()
            }
        });
        if let Cow::Owned(masked) = masked {
            text = Cow::Owned(masked);
        }
    }
    text
}

/// The check digit of ISO/IEC 7812 card numbers.
fn passes_luhn(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, &digit)| match (index % 2, digit * 2) {
            (0, _) => digit,
            (_, doubled) if doubled > 9 => doubled - 9,
            (_, doubled) => doubled,
        })
        .sum();
    digits.len() >= 13 && sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn personal_data_and_secrets_are_masked() {
        for (text, masked) in [
            (
                "write to jane.doe+x@mail.example.org now",
                "write to [EMAIL] now",
            ),
            ("call +49 170 1234567", "call [PHONE]"),
            (
                "call (415) 555-2671 or 415-555-2671",
                "call [PHONE] or [PHONE]",
            ),
            ("pay with 4111 1111 1111 1111.", "pay with [CARD]."),
            ("order 4111 1111 1111 1112", "order 4111 1111 1111 1112"),
            ("key sk-proj-abcDEF0123456789abcd!", "key [SECRET]!"),
            (
                "Authorization: Bearer abc.def-ghi123",
                "Authorization: [SECRET]",
            ),
            ("AKIAIOSFODNN7EXAMPLE", "[SECRET]"),
            (
                "the year 2026, room 1234, v1.2.3",
                "the year 2026, room 1234, v1.2.3",
            ),
            (
                "a task-oriented risk-averse desk-bound text",
                "a task-oriented risk-averse desk-bound text",
            ),
        ] {
            assert_eq!(mask_text(text), masked);
        }
    }

    #[test]
    fn a_body_keeps_its_shape() {
        let body = br#"{"model":"a@b.co","messages":[{"role":"user","content":[{"type":"text","text":"a@b.co"}]}],"n":1}"#;
        let masked = std::str::from_utf8(body)
            .unwrap()
            .replace("\"text\":\"a@b.co\"", "\"text\":\"[EMAIL]\"");
        assert_eq!(
            serde_json::from_slice::<Value>(&mask_body(body)).unwrap(),
            serde_json::from_str::<Value>(&masked).unwrap()
        );
    }
}
