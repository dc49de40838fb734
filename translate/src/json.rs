//! Small edits to JSON text that leave every other byte unchanged.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::{RawValue, to_raw_value};

/// Returns the range of `part` in `whole`, if it is a slice of it.
///
/// That is the case for a [`RawValue`] borrowed from the text that is being edited.
pub fn span_of(whole: &[u8], part: &RawValue) -> Option<std::ops::Range<usize>> {
    let part = part.get().as_bytes();
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let range = start..start.checked_add(part.len())?;
    (whole.get(range.clone())? == part).then_some(range)
}

/// Inserts members before the closing brace of an object. `members` is `"a":1,"b":2`, without
/// braces.
///
/// Text that does not end like an object stays as it is.
pub fn append_members(object: &mut Vec<u8>, members: &[u8]) {
    let Some(brace) = object.iter().rposition(|byte| !byte.is_ascii_whitespace()) else {
        return;
    };
    if object.get(brace) != Some(&b'}') {
        return;
    }
    let is_empty = object
        .get(..brace)
        .and_then(|before| before.iter().rev().find(|byte| !byte.is_ascii_whitespace()))
        == Some(&b'{');
    object.truncate(brace);
    object.reserve(members.len() + 2);
    if !is_empty {
        object.push(b',');
    }
    object.extend_from_slice(members);
    object.push(b'}');
}

/// Appends a value as JSON. Values of this crate's types can't fail to serialize.
pub fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let length = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(length);
        out.extend_from_slice(b"null");
    }
}

/// Parses JSON. Validating UTF-8 once for the whole text is faster than once per string, and one
/// parser is compiled per type instead of two.
pub fn from_bytes<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> serde_json::Result<T> {
    let text = std::str::from_utf8(bytes).map_err(serde::de::Error::custom)?;
    serde_json::from_str(text)
}

/// Returns true if bytes are one JSON value.
pub fn is_valid(bytes: &[u8]) -> bool {
    from_bytes::<serde::de::IgnoredAny>(bytes).is_ok()
}

/// Returns true if an object has at least one of these members, with a value other than null.
pub fn has_any_member(bytes: &[u8], names: &[&str]) -> serde_json::Result<bool> {
    let text = std::str::from_utf8(bytes).map_err(serde::de::Error::custom)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let has_one = deserializer.deserialize_map(AnyMember(names))?;
    deserializer.end()?;
    Ok(has_one)
}

struct AnyMember<'n>(&'n [&'n str]);

impl<'de> Visitor<'de> for AnyMember<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut has_one = false;
        while let Some((name, value)) = map.next_entry::<Text<'de>, Option<IgnoredAny>>()? {
            has_one |= value.is_some() && self.0.contains(&name.0.as_ref());
        }
        Ok(has_one)
    }
}

/// Serde deserializes a `Cow` as owned unless it has `borrow`.
#[derive(serde::Deserialize)]
struct Text<'t>(#[serde(borrow)] Cow<'t, str>);

/// Decodes a JSON string, borrowed if possible.
pub fn text(raw: &RawValue) -> serde_json::Result<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(raw.get()).map(|text| text.0)
}

/// Serializes a value as JSON. Values of this crate's types can't fail to serialize.
pub fn raw<T: Serialize + ?Sized>(value: &T) -> Box<RawValue> {
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// Returns a JSON string that contains an empty object: the arguments of a call without any.
pub fn empty_object_text() -> &'static RawValue {
    serde_json::from_str(r#""{}""#).unwrap_or(RawValue::NULL)
}

/// Describes the position of a parse error in terms that a caller can act on.
pub fn describe_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match error.classify() {
        serde_json::error::Category::Eof => {
            format!("The body ends in the middle of its JSON: {text}")
        }
        serde_json::error::Category::Syntax => format!("The body is not valid JSON: {text}"),
        serde_json::error::Category::Data | serde_json::error::Category::Io => {
            format!("The body has a field of the wrong type: {text}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_appended_whatever_the_layout() {
        for (before, after) in [
            (r#"{"a":1}"#, r#"{"a":1,"b":2}"#),
            ("{}", r#"{"b":2}"#),
            ("{ }", r#"{ "b":2}"#),
            ("{\"a\":1\n}\n", "{\"a\":1\n,\"b\":2}"),
            ("[1]", "[1]"),
            ("", ""),
        ] {
            let mut text = before.as_bytes().to_vec();
            append_members(&mut text, br#""b":2"#);
            assert_eq!(String::from_utf8(text).unwrap(), after);
        }
    }
}
