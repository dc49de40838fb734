//! Masks the credentials of a request in the provider's answer.

use std::borrow::Cow;
use std::sync::Arc;

use memchr::memmem::Finder;
use serde_json::Value;

use crate::error::ApiError;
use crate::json;
use crate::redact::redactor::mask_keys;
use crate::sse;

/// Replacement for a key.
const MASK: &str = "[SECRET]";
/// A shorter value is not a secret, and may well be a word.
const MIN_BYTES: usize = 8;
/// A provider that quotes part of a key quotes at least this much of its beginning or end.
const PART: usize = 16;

/// Credentials of one provider.
///
/// Errors, and the headers of all answers, are masked by value: a key is found whatever it looks
/// like. Errors are also masked by pattern, for keys that the gateway doesn't know. Nothing else of
/// an answer is changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyMask {
    /// Longest first, so that no value is found within another. Shared, because each answer has a
    /// mask.
    values: Arc<[Secret]>,
}

/// A value, with its searches: one takes longer to set up than to go through a header.
struct Secret {
    value: String,
    /// Finds a part of the beginning, of [`PART`] bytes.
    head: Finder<'static>,
    /// Finds a part of the end, as long.
    tail: Finder<'static>,
}

impl Secret {
    fn new(value: &str) -> Self {
        let bytes = value.as_bytes();
        let head = bytes.get(..PART).unwrap_or(bytes);
        let tail = bytes.get(bytes.len().saturating_sub(PART)..);
        Self {
            value: value.to_owned(),
            head: Finder::new(head).into_owned(),
            tail: Finder::new(tail.unwrap_or(bytes)).into_owned(),
        }
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Secret {}

/// Keeps keys out of logs.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(MASK)
    }
}

impl KeyMask {
    /// Takes the values of headers, such as `Bearer KEY`, and bare secrets.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all: Vec<Secret> = Vec::new();
        for value in values {
            let value = value.rsplit(' ').next().unwrap_or(value);
            if value.len() < MIN_BYTES || all.iter().any(|known| known.value == value) {
                continue;
            }
            let is_shorter = |known: &Secret| known.value.len() < value.len();
            let place = all.iter().position(is_shorter);
            all.insert(place.unwrap_or(all.len()), Secret::new(value));
        }
        Self { values: all.into() }
    }

    /// Masks by value and by pattern.
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.mask_values(text) {
            Cow::Borrowed(text) => mask_keys(text),
            Cow::Owned(masked) => match mask_keys(&masked) {
                Cow::Owned(both) => Cow::Owned(both),
                Cow::Borrowed(_) => Cow::Owned(masked),
            },
        }
    }

    /// Masks by value only, so that text which merely looks like a key stays.
    pub fn mask_values<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut masked = Cow::Borrowed(text);
        for secret in self.values.iter() {
            if let Some(changed) = mask_value(&masked, secret) {
                masked = Cow::Owned(changed);
            }
        }
        masked
    }

    /// Returns true if these bytes contain a value, or a long part of its beginning. Very fast.
    pub fn has_value(&self, bytes: &[u8]) -> bool {
        let mut values = self.values.iter();
        values.any(|secret| secret.head.find(bytes).is_some())
    }

    /// Masks the body of an error in any format; returns `None` if there is nothing to mask. JSON
    /// stays JSON, and a key is found in it however its characters are escaped.
    pub fn mask_body(&self, body: &[u8]) -> Option<Vec<u8>> {
        let text = String::from_utf8_lossy(body);
        let unescaped = if text.contains('\\')
            && let Ok(mut value) = json::from_bytes::<Value>(body)
            && self.mask_json(&mut value)
        {
            serde_json::to_string(&value).ok()
        } else {
            None
        };
        match self.mask(unescaped.as_deref().unwrap_or(&text)) {
            Cow::Owned(masked) => Some(masked.into_bytes()),
            Cow::Borrowed(_) => unescaped.map(String::into_bytes),
        }
    }

    /// Masks an event of a stream; returns `None` if there is nothing to mask. Its data is parsed
    /// as JSON if possible.
    pub fn mask_event(&self, raw: &[u8]) -> Option<Vec<u8>> {
        let data = sse::SseEvent { raw }.data();
        let masked = data
            .filter(|data| data.contains(&b'\\'))
            .and_then(|data| self.mask_body(&data));
        let Some(masked) = masked else {
            return self.mask_body(raw);
        };
        let mut event = Vec::with_capacity(raw.len());
        let others = raw
            .split(|byte| matches!(byte, b'\r' | b'\n'))
            .filter(|line| !line.is_empty() && !line.starts_with(b"data"));
        for line in others {
            event.extend_from_slice(line);
            event.push(b'\n');
        }
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(&masked);
        event.extend_from_slice(b"\n\n");
        Some(event)
    }

    /// Returns true if anything was masked.
    fn mask_json(&self, value: &mut Value) -> bool {
        match value {
            Value::String(text) => match self.mask(text) {
                Cow::Owned(masked) => {
                    *text = masked;
                    true
                }
                Cow::Borrowed(_) => false,
            },
            Value::Array(items) => items
                .iter_mut()
                .fold(false, |any, item| self.mask_json(item) | any),
            Value::Object(members) => members
                .values_mut()
                .fold(false, |any, member| self.mask_json(member) | any),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }

    /// Masks all texts of an error.
    pub fn mask_error(&self, error: &mut ApiError) {
        let masked = |text: &mut String| {
            if let Cow::Owned(masked) = self.mask(text) {
                *text = masked;
            }
        };
        masked(&mut error.message);
        if let Some(param) = &mut error.param {
            masked(param);
        }
        if let Some(Cow::Owned(code)) = &mut error.code {
            masked(code);
        }
    }
}

/// Returns the text without the value and without long parts of its beginning or end; `None` if it
/// contains none of these.
fn mask_value(text: &str, secret: &Secret) -> Option<String> {
    let without_heads = mask_parts(text, secret, true);
    let shown = without_heads.as_deref().unwrap_or(text);
    mask_parts(shown, secret, false).or(without_heads)
}

/// Masks every occurrence of the first or last bytes of a value, together with the adjacent bytes
/// that also belong to the value.
fn mask_parts(text: &str, secret: &Secret, is_head: bool) -> Option<String> {
    let (bytes, value) = (text.as_bytes(), secret.value.as_bytes());
    let part = if is_head { &secret.head } else { &secret.tail };
    let length = part.needle().len();
    let mut masked = String::new();
    let mut copied = 0;
    while let Some(at) = part.find(bytes.get(copied..).unwrap_or_default()) {
        let (mut start, mut end) = (copied + at, copied + at + length);
        if is_head {
            let rest = bytes.get(start..).unwrap_or_default().iter();
            end = start + rest.zip(value).take_while(|(a, b)| a == b).count();
        } else {
            let before = bytes.get(copied..start).unwrap_or_default().iter().rev();
            let own = value.iter().rev().skip(length);
            start -= before.zip(own).take_while(|(a, b)| a == b).count();
        }
        // A part may end within a character.
        masked.push_str(
            text.get(copied..text.floor_char_boundary(start))
                .unwrap_or_default(),
        );
        masked.push_str(MASK);
        copied = text.ceil_char_boundary(end);
    }
    if copied == 0 {
        return None;
    }
    masked.push_str(text.get(copied..).unwrap_or_default());
    Some(masked)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123abcd-a/key+that=looks-like-nothing";

    fn mask() -> KeyMask {
        KeyMask::new([&*format!("Bearer {KEY}"), "g", "2023-06-01x"])
    }

    #[test]
    fn a_key_is_found_by_its_value_and_the_rest_is_kept() {
        let text = format!("Your key {KEY} is not for o1 ({KEY}): verify your organization");
        assert_eq!(
            mask().mask(&text),
            "Your key [SECRET] is not for o1 ([SECRET]): verify your organization"
        );
        assert_eq!(mask().mask("nothing to see"), "nothing to see");
    }

    #[test]
    fn a_key_is_found_by_its_beginning_and_its_end() {
        let (head, tail) = (&KEY[..20], &KEY[KEY.len() - 18..]);
        assert_eq!(
            mask().mask(&format!("{head}...{tail}, {head}")),
            "[SECRET]...[SECRET], [SECRET]"
        );
        assert_eq!(mask().mask(&KEY[..10]), KEY[..10], "too little to tell");
    }

    #[test]
    fn keys_of_others_are_found_by_their_patterns() {
        for key in [
            "sk-proj-abcdef123456",
            "AIzaSyA1234567890123456789012345678901234",
            "AKIAIOSFODNN7EXAMPLE",
            "Bearer abcdefgh12345",
        ] {
            assert_eq!(
                KeyMask::default().mask(&format!("({key})")),
                "([SECRET])",
                "{key}"
            );
        }
        let plain = "request req_011CSHoEeqs5C35K2UUqR7Fy failed at 1f0e9d8c7b6a";
        assert_eq!(KeyMask::default().mask(plain), plain);
    }

    #[test]
    fn a_body_stays_json_and_escapes_hide_nothing() {
        let escaped: String = KEY
            .chars()
            .map(|c| format!("\\u{:04x}", c as u32))
            .collect();
        for quoted in [KEY.to_owned(), KEY.replace('/', "\\/"), escaped] {
            let body = format!(r#"{{"error":{{"code":"{quoted}","message":"no {quoted}"}}}}"#);
            assert_eq!(
                String::from_utf8(mask().mask_body(body.as_bytes()).unwrap()).unwrap(),
                r#"{"error":{"code":"[SECRET]","message":"no [SECRET]"}}"#
            );
        }
        assert_eq!(mask().mask_body(br#"{"error": "no \"key\""}"#), None);
        assert_eq!(mask().mask_body(&[0xff, b'x']), None);
    }

    #[test]
    fn escapes_hide_nothing_in_an_event() {
        let event = format!(
            "event: error\ndata: {{\"a\":\"{}\"}}\n\n",
            KEY.replace('/', "\\/")
        );
        assert_eq!(
            String::from_utf8(mask().mask_event(event.as_bytes()).unwrap()).unwrap(),
            "event: error\ndata: {\"a\":\"[SECRET]\"}\n\n"
        );
    }

    #[test]
    fn all_of_an_error_is_masked() {
        let mut error = ApiError::invalid(KEY, format!("no {KEY}")).with_code(KEY.to_owned());
        mask().mask_error(&mut error);
        assert_eq!(
            String::from_utf8(error.to_json()).unwrap(),
            r#"{"error":{"message":"no [SECRET]","type":"invalid_request_error","param":"[SECRET]","code":"[SECRET]"}}"#
        );
    }

    #[test]
    fn keys_are_not_in_debug_output() {
        assert!(!format!("{:?}", mask()).contains("0123"));
    }

    #[test]
    fn a_long_error_takes_little_time() {
        // Rescanning the text for each key found would never finish.
        let text = format!("{KEY} ").repeat(100_000);
        assert_eq!(mask().mask(&text).len(), 9 * 100_000);
    }
}
