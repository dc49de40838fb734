//! Halves of surrogate pairs in JSON.
//!
//! Applications that cut a text by UTF-16 units leave half of a character in it, escaped as
//! `\ud83d`. JSON parsers refuse the whole body for it.

use std::borrow::Cow;

use memchr::{memchr, memmem};

const REPLACEMENT: &[u8] = b"\\ufffd";
const LENGTH: usize = REPLACEMENT.len();

/// Replaces each half by the replacement character.
pub(crate) fn replace_lone(json: &[u8]) -> Cow<'_, [u8]> {
    let has = |start: &[u8]| memmem::find(json, start).is_some();
    if !has(b"\\ud") && !has(b"\\uD") {
        return Cow::Borrowed(json);
    }
    let mut fixed = Cow::Borrowed(json);
    let mut at = 0;
    while let Some(found) = json.get(at..).and_then(|rest| memchr(b'\\', rest)) {
        at += found;
        let unit = json.get(at..).and_then(surrogate);
        let next = json.get(at + LENGTH..).and_then(surrogate);
        at += match (unit, next) {
            (Some(Half::High), Some(Half::Low)) => 2 * LENGTH,
            (Some(_), _) => {
                if let Some(half) = fixed.to_mut().get_mut(at..at + LENGTH) {
                    half.copy_from_slice(REPLACEMENT);
                }
                LENGTH
            }
            // Another escape, such as an escaped backslash.
            (None, _) => 2,
        };
    }
    fixed
}

enum Half {
    High,
    Low,
}

/// Returns the half of a pair that bytes begin with.
fn surrogate(bytes: &[u8]) -> Option<Half> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    let unit = u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    match unit {
        0xd800..0xdc00 => Some(Half::High),
        0xdc00..0xe000 => Some(Half::Low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn halves_are_replaced_and_pairs_are_kept() {
        for (json, expected) in [
            (r#""\ud83d\ude00 \u00e9""#, "\u{1f600} \u{e9}"),
            (r#""a\ud83d""#, "a\u{fffd}"),
            (r#""\uDE00b""#, "\u{fffd}b"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\\ud83d""#, r"\ud83d"),
            (r#""\ud83d\n""#, "\u{fffd}\n"),
        ] {
            let fixed = replace_lone(json.as_bytes());
            let text: Value = serde_json::from_slice(&fixed).unwrap();
            assert_eq!(text, expected, "{json}");
        }
        let plain = r#""\ud83d\ude00""#.as_bytes();
        assert!(matches!(replace_lone(plain), Cow::Borrowed(_)));
        assert_eq!(replace_lone(br#""\ud8"#).as_ref(), br#""\ud8"#);
    }
}
