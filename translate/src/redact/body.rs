//! Masks the texts of a JSON body in place, in one pass, and leaves every other byte unchanged.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use crate::json;
use crate::redact::redactor::Redactor;

/// Bytes that are read beyond the kept part: a match that begins in the kept part is recognized
/// only if its end is read too.
const MARGIN: usize = 4 << 10;

/// Masks a body, of which at most `limit` bytes are kept. The rest is not read, except for a
/// margin.
///
/// A body that is not JSON is masked as text.
pub fn mask(redactor: &Redactor, body: &[u8], limit: usize) -> Vec<u8> {
    if body.len() <= limit {
        return mask_whole(redactor, body).into_bytes();
    }
    // A match that crosses the limit is not recognized in the text before the limit alone. With the
    // margin it is, so the two results differ from its start on.
    let part = |length: usize| mask_whole(redactor, body.get(..length).unwrap_or(body));
    let (kept, further) = (part(limit), part(limit.saturating_add(MARGIN)));
    let same = kept.bytes().zip(further.bytes());
    let length = same.take_while(|(a, b)| a == b).count();
    let mut kept = kept;
    kept.truncate(kept.floor_char_boundary(length.min(limit)));
    kept.into_bytes()
}

fn mask_whole(redactor: &Redactor, body: &[u8]) -> String {
    // A character that is truncated at the end is dropped.
    let text = match std::str::from_utf8(body) {
        Ok(text) => Cow::Borrowed(text),
        Err(error) if error.error_len().is_none() => {
            String::from_utf8_lossy(body.get(..error.valid_up_to()).unwrap_or_default())
        }
        Err(_) => String::from_utf8_lossy(body),
    };
    if is_json(&text) {
        mask_json(redactor, &text)
    } else {
        redactor.mask_text(&text).into_owned()
    }
}

/// Returns true if a text is JSON, or a prefix of JSON.
fn is_json(text: &str) -> bool {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(IgnoredAny) => true,
        Err(error) => error.is_eof(),
    }
}

/// Masks the strings and numbers of JSON text that may be truncated.
fn mask_json(redactor: &Redactor, text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut is_of_the_protocol = false;
    while let Some(first) = rest.chars().next() {
        match first {
            '"' => {
                let (string, after) = rest.split_at(string_end(rest));
                let is_name = after.trim_start().starts_with(':');
                if is_of_the_protocol && !is_name {
                    out.push_str(string);
                } else {
                    mask_string(redactor, string, &mut out);
                }
                is_of_the_protocol = is_name && is_protocols(string);
                rest = after;
            }
            '-' | '0'..='9' => {
                let end = rest
                    .find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))
                    .unwrap_or(rest.len());
                let (number, after) = rest.split_at(end);
                match redactor.mask_text(number) {
                    // A card number may be a JSON number.
                    Cow::Owned(masked) if !is_of_the_protocol => {
                        out.push('"');
                        out.push_str(&masked);
                        out.push('"');
                    }
                    _ => out.push_str(number),
                }
                rest = after;
            }
            _ => {
                // A protocol member's own value is left unchanged, but nothing nested in it.
                is_of_the_protocol &= !matches!(first, '{' | '[' | ',' | '}' | ']');
                let (punctuation, after) = rest.split_at(first.len_utf8());
                out.push_str(punctuation);
                rest = after;
            }
        }
    }
    out
}

/// Returns the length of the string at the start of a text, including its quotes; the whole length
/// if it is unterminated.
fn string_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(found) = bytes
        .get(at..)
        .and_then(|rest| memchr::memchr2(b'"', b'\\', rest))
    {
        at += found;
        if bytes.get(at) == Some(&b'"') {
            return at + 1;
        }
        at += 2;
    }
    text.len()
}

fn mask_string(redactor: &Redactor, string: &str, out: &mut String) {
    let inner = string.strip_prefix('"').unwrap_or(string);
    let text: Cow<'_, str> = if inner.contains('\\') {
        Cow::Owned(unescaped(string))
    } else {
        Cow::Borrowed(inner.strip_suffix('"').unwrap_or(inner))
    };
    match redactor.mask_text(&text) {
        Cow::Owned(masked) => {
            let mut written = Vec::with_capacity(masked.len() + 2);
            json::write(&mut written, &masked);
            out.push_str(&String::from_utf8_lossy(&written));
        }
        Cow::Borrowed(_) => out.push_str(string),
    }
}

/// Returns a string's text. If the string is truncated, an incomplete escape at its end is dropped.
fn unescaped(string: &str) -> String {
    /// Length of an escaped surrogate pair, for characters outside the Basic Multilingual Plane.
    const LONGEST_ESCAPE: usize = 12;
    if let Ok(text) = serde_json::from_str(string) {
        return text;
    }
    (0..=LONGEST_ESCAPE)
        .filter_map(|cut| string.get(..string.len().checked_sub(cut)?))
        .find_map(|text| serde_json::from_str(&format!("{text}\"")).ok())
        .unwrap_or_default()
}

/// Returns true if a member's value is a keyword of the protocol itself.
fn is_protocols(name: &str) -> bool {
    matches!(
        name,
        r#""model""#
            | r#""role""#
            | r#""type""#
            | r#""id""#
            | r#""call_id""#
            | r#""tool_call_id""#
            | r#""tool_use_id""#
            | r#""object""#
            | r#""created""#
            | r#""created_at""#
            | r#""finish_reason""#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(body: &str, limit: usize) -> String {
        String::from_utf8(mask(&Redactor::default(), body.as_bytes(), limit)).unwrap()
    }

    #[test]
    fn a_body_is_masked_where_it_stands() {
        for (body, expected) in [
            (
                r#"{ "b": "a@b.co",  "a": [1.50, "x\n"] }"#,
                r#"{ "b": "[EMAIL]",  "a": [1.50, "x\n"] }"#,
            ),
            (r#"["jane\u0040example.org"]"#, r#"["[EMAIL]"]"#),
            (
                r#"{"id":"a@b.co","n":"a@b.co"}"#,
                r#"{"id":"a@b.co","n":"[EMAIL]"}"#,
            ),
            (
                r#"{"id":{"n":"a@b.co"},"type":["a@b.co"]}"#,
                r#"{"id":{"n":"[EMAIL]"},"type":["[EMAIL]"]}"#,
            ),
            (r#""say \"a@b.co\"""#, r#""say \"[EMAIL]\"""#),
            ("no json: a@b.co", "no json: [EMAIL]"),
            (r#"{"a": oops "a@b.co"}"#, r#"{"a": oops "[EMAIL]"}"#),
        ] {
            assert_eq!(masked(body, 1 << 20), expected, "{body}");
        }
    }

    #[test]
    fn what_is_kept_of_a_long_body_shows_nothing_at_its_end() {
        let card = "4111 1111 1111 1111";
        for length in 5000..5040 {
            let body = format!(
                r#"{{"a":"{} {card} {}"}}"#,
                "x".repeat(length),
                "y ".repeat(4000)
            );
            let kept = masked(&body, 5020);
            assert!(
                !kept.contains("41"),
                "{length}: {}",
                &kept[kept.len() - 30..]
            );
            assert!(kept.len() <= 5020 && kept.starts_with(r#"{"a":"xxxx"#));
        }
        // Masks are shorter than the text they replace, so the masked text ends earlier.
        let body = format!(
            r#"["{}"]"#,
            "someone.with.a.long.name@a.long.example.org ".repeat(1000)
        );
        let kept = masked(&body, 10_000);
        assert!(
            !kept.contains("someone") && !kept.contains("example"),
            "{kept}"
        );
        assert!(kept.matches("[EMAIL]").count() > 100);
    }

    #[test]
    fn escapes_are_read_in_a_string_that_is_cut_too() {
        for length in 0..12 {
            let body = format!(
                r#"["{}jane\u0040example.org {}"]"#,
                "x".repeat(length),
                r"\ud83d\ude00".repeat(2000)
            );
            let kept = masked(&body, 5000);
            assert!(kept.contains("[EMAIL]"), "{kept}");
        }
    }

    #[test]
    fn a_private_key_that_is_cut_is_masked_to_its_end() {
        let body = format!(
            "key: -----BEGIN PRIVATE KEY-----\n{}",
            "MIIEvQIBADANBgkqhkiG\n".repeat(2000)
        );
        assert_eq!(masked(&body, 1000), "key: [SECRET]");
        assert_eq!(masked(&body, 1 << 20), "key: [SECRET]");
    }
}
