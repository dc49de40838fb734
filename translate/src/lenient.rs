//! Reads members of a provider's answer whose exact type no client depends on: a value of another
//! type is converted, or counts as missing, so that it doesn't end the answer.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::json;

/// Reads a text, or the text of a number.
pub(crate) fn text<'de, D: Deserializer<'de>>(de: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    Ok(match de.deserialize_any(ScalarVisitor)? {
        Scalar::Text(text) => Some(text),
        Scalar::Integer(number) => Some(number.to_string().into()),
        Scalar::Float(number) => Some(number.to_string().into()),
        Scalar::None => None,
    })
}

/// Reads a text that says something. An empty one counts as missing.
pub(crate) fn word<'de, D: Deserializer<'de>>(de: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    Ok(text(de)?.filter(|text| !text.is_empty()))
}

/// Reads a count, which may be a float or a text.
pub(crate) fn count<'de, D: Deserializer<'de>>(de: D) -> Result<Option<u64>, D::Error> {
    let rounded = |number: f64| {
        let is_count = number.is_finite() && number >= 0.0;
        is_count.then(|| number.round() as u64)
    };
    Ok(match de.deserialize_any(ScalarVisitor)? {
        Scalar::Text(text) => text.parse().ok().or_else(|| rounded(text.parse().ok()?)),
        Scalar::Integer(number) => u64::try_from(number).ok(),
        Scalar::Float(number) => rounded(number),
        Scalar::None => None,
    })
}

/// Reads a count; a missing one is 0.
pub(crate) fn count_or_zero<'de, D: Deserializer<'de>>(de: D) -> Result<u64, D::Error> {
    Ok(count(de)?.unwrap_or_default())
}

/// Reads a list; null is an empty one.
pub(crate) fn list<'de, D, T>(de: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Vec<T>>::deserialize(de)?.unwrap_or_default())
}

/// Reads a value if it has the shape of its type.
pub(crate) fn readable<'de, D, T>(de: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let raw = <&RawValue>::deserialize(de)?;
    Ok(serde_json::from_str(raw.get()).unwrap_or_default())
}

/// Reads a piece of an answer, as a JSON string: a text, or the texts of a list of parts.
pub(crate) fn piece<'de, D>(de: D) -> Result<Option<Cow<'de, RawValue>>, D::Error>
where
    D: Deserializer<'de>,
{
    let raw = <&RawValue>::deserialize(de)?;
    match raw.get().as_bytes().first() {
        Some(b'"') => Ok(Some(Cow::Borrowed(raw))),
        Some(b'n') => Ok(None),
        Some(b'[') => Ok(Some(Cow::Owned(json::raw(&texts(raw)?)))),
        _ => Err(D::Error::custom("expected a text")),
    }
}

/// Reads a whole text of an answer: a text, or the texts of a list of parts.
pub(crate) fn content<'de, D: Deserializer<'de>>(de: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    let raw = <&RawValue>::deserialize(de)?;
    match raw.get().as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'[') => Ok(Some(texts(raw)?.into())),
        _ => json::text(raw).map(Some).map_err(D::Error::custom),
    }
}

/// Reads a call's arguments, as a JSON string: a text with JSON, or the JSON itself. An empty
/// object says nothing yet: more may follow.
pub(crate) fn arguments<'de, D>(de: D) -> Result<Option<Cow<'de, RawValue>>, D::Error>
where
    D: Deserializer<'de>,
{
    let raw = <&RawValue>::deserialize(de)?;
    Ok(match raw.get() {
        "null" | "{}" => None,
        text if text.starts_with('"') => Some(Cow::Borrowed(raw)),
        text => Some(Cow::Owned(json::raw(text))),
    })
}

/// Joins the texts in a list of parts.
fn texts<E: Error>(parts: &RawValue) -> Result<String, E> {
    #[derive(Deserialize)]
    struct Part<'a> {
        #[serde(default, borrow)]
        text: Option<Cow<'a, str>>,
    }
    let parts: Vec<Part<'_>> = serde_json::from_str(parts.get()).map_err(E::custom)?;
    Ok(parts.into_iter().filter_map(|part| part.text).collect())
}

/// A text or a number; a value of another kind counts as missing.
enum Scalar<'a> {
    Text(Cow<'a, str>),
    Integer(i128),
    Float(f64),
    None,
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a number")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(text.into()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(text.to_owned().into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Integer(number.into()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Integer(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Float(number))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Scalar::None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Scalar::None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Members<'a> {
        #[serde(default, borrow, deserialize_with = "text")]
        id: Option<Cow<'a, str>>,
        #[serde(default, borrow, deserialize_with = "word")]
        reason: Option<Cow<'a, str>>,
        #[serde(default, deserialize_with = "count")]
        created: Option<u64>,
        #[serde(default, borrow, deserialize_with = "piece")]
        said: Option<Cow<'a, RawValue>>,
        #[serde(default, borrow, deserialize_with = "arguments")]
        arguments: Option<Cow<'a, RawValue>>,
    }

    fn read(json: &str) -> Members<'_> {
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    #[test]
    fn scalars_are_converted_and_everything_else_is_missing() {
        for (json, id) in [
            (r#"{"id":"a\u00e9"}"#, Some("aé")),
            (r#"{"id":7}"#, Some("7")),
            (r#"{"id":-7}"#, Some("-7")),
            (r#"{"id":null}"#, None),
            (r#"{"id":true}"#, None),
            (r#"{"id":{"a":[1]}}"#, None),
            (r#"{"id":[{"a":1}]}"#, None),
            ("{}", None),
        ] {
            assert_eq!(read(json).id.as_deref(), id, "{json}");
        }
        for (json, created) in [
            (r#"{"created":11}"#, Some(11)),
            (r#"{"created":11.0}"#, Some(11)),
            (r#"{"created":1700000000.5}"#, Some(1_700_000_001)),
            (r#"{"created":"1700000000"}"#, Some(1_700_000_000)),
            (r#"{"created":18446744073709551615}"#, Some(u64::MAX)),
            (r#"{"created":-1}"#, None),
            (r#"{"created":"2026-11-26"}"#, None),
            (r#"{"created":null}"#, None),
        ] {
            assert_eq!(read(json).created, created, "{json}");
        }
        assert_eq!(read(r#"{"reason":""}"#).reason, None);
    }

    #[test]
    fn pieces_are_json_strings() {
        for (json, said) in [
            (r#"{"said":"a\u00e9"}"#, Some(r#""a\u00e9""#)),
            (r#"{"said":null}"#, None),
            (
                r#"{"said":[{"type":"text","text":"a"},{"text":"b"},{"x":1}]}"#,
                Some(r#""ab""#),
            ),
        ] {
            let read = read(json);
            assert_eq!(read.said.as_ref().map(|raw| raw.get()), said, "{json}");
        }
        assert!(serde_json::from_str::<Members<'_>>(r#"{"said":7}"#).is_err());
        for (json, arguments) in [
            (r#"{"arguments":"{}"}"#, Some(r#""{}""#)),
            (r#"{"arguments":{}}"#, None),
            (r#"{"arguments":{"a":"b"}}"#, Some(r#""{\"a\":\"b\"}""#)),
        ] {
            let read = read(json);
            let read = read.arguments.as_ref().map(|raw| raw.get());
            assert_eq!(read, arguments, "{json}");
        }
    }
}
