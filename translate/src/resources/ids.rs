//! The ids of stored objects in JSON bodies.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::json;

/// Members whose strings are file ids.
const FILE_IDS: [&str; 6] = [
    "file_id",
    "file_ids",
    "input_file_id",
    "input_files",
    "training_file",
    "validation_file",
];

/// Members whose strings are ids of objects whose owner the gateway can't determine.
const OTHER_IDS: [&str; 6] = [
    "container",
    "container_id",
    "conversation",
    "previous_interaction_id",
    "previous_response_id",
    "vector_store_ids",
];

/// Members with the caller's own data, where names have no meaning.
const OPAQUE: [&str; 4] = ["arguments", "input_schema", "metadata", "parameters"];

/// A list is the conversation; an object is the arguments of a tool call, the caller's own data.
const INPUT: &str = "input";

/// The ids in a request's body.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RequestIds {
    /// Ids of files.
    pub files: Vec<String>,
    /// Ids of objects without a known owner, such as responses.
    pub others: Vec<String>,
}

impl RequestIds {
    /// Finds the ids in a body, at any depth; none if it is not JSON.
    ///
    /// Servers differ in which of two members with the same name they use, and in whether names are
    /// case-sensitive, so all are collected.
    pub fn find(body: &[u8]) -> Self {
        let mut found = Self::default();
        let Ok(text) = std::str::from_utf8(body) else {
            return found;
        };
        let mut deserializer = serde_json::Deserializer::from_str(text);
        // Ids found before an error count: a lenient server may continue after it.
        let _ = Walk {
            found: &mut found,
            kind: Kind::Plain,
        }
        .deserialize(&mut deserializer);
        found
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.others.is_empty()
    }
}

/// Returns true if a body may name files in a conversation. Only searches the text, so only `false`
/// is certain.
pub fn may_name_files(body: &[u8]) -> bool {
    let is_named = memchr::memchr_iter(b'_', body).any(|at| {
        let before = at.checked_sub(4).and_then(|start| body.get(start..at));
        let after = body.get(at + 1..at + 3);
        before.is_some_and(|word| word.eq_ignore_ascii_case(b"file"))
            && after.is_some_and(|word| word.eq_ignore_ascii_case(b"id"))
    });
    // A letter or the underscore of the name may be escaped.
    let is_escaped = || {
        memchr::memchr_iter(b'\\', body).any(|at| {
            let escape = body.get(at + 1..at + 5);
            matches!(escape, Some([b'u', b'0', b'0', b'4'..=b'7']))
        })
    };
    is_named || is_escaped()
}

/// The meaning of a member's strings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    File,
    Other,
    Input,
    Opaque,
}

impl Kind {
    fn of(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let name = name.as_str();
        if FILE_IDS.contains(&name) {
            Self::File
        } else if OTHER_IDS.contains(&name) {
            Self::Other
        } else if OPAQUE.contains(&name) {
            Self::Opaque
        } else if name == INPUT {
            Self::Input
        } else {
            Self::Plain
        }
    }
}

struct Walk<'f> {
    found: &'f mut RequestIds,
    kind: Kind,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.kind {
            Kind::Opaque => deserializer.deserialize_ignored_any(IgnoredAny).map(|_| ()),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let ids = match self.kind {
            Kind::File => &mut self.found.files,
            Kind::Other => &mut self.found.others,
            Kind::Plain | Kind::Input | Kind::Opaque => return Ok(()),
        };
        if !text.is_empty() && !ids.iter().any(|id| id == text) {
            ids.push(text.to_owned());
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let kind = match self.kind {
            Kind::Input => Kind::Plain,
            kind => kind,
        };
        while items
            .next_element_seed(Walk {
                found: self.found,
                kind,
            })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            // In an object that stands for an id, such as `{"conversation": {"id": "conv_1"}}`, its
            // `id` counts.
            let kind = match (self.kind, Kind::of(&name)) {
                (Kind::Input, _) => Kind::Opaque,
                (Kind::File | Kind::Other, Kind::Plain) if name.eq_ignore_ascii_case("id") => {
                    self.kind
                }
                (_, kind) => kind,
            };
            members.next_value_seed(Walk {
                found: self.found,
                kind,
            })?;
        }
        Ok(())
    }
}

/// An object in a provider's answer: its id, and the ids of objects created with it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StoredObject {
    pub id: Option<String>,
    /// Files with a batch's results and errors.
    pub outputs: Vec<String>,
}

impl StoredObject {
    /// Parses an answer; `None` if it is not a JSON object.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let wire: WireObject<'_> = json::from_bytes(body).ok()?;
        let text = |raw: Option<&RawValue>| json::text(raw?).ok().map(std::borrow::Cow::into_owned);
        let outputs = [
            wire.output_file_id,
            wire.error_file_id,
            wire.output_file,
            wire.error_file,
        ];
        Some(Self {
            id: text(wire.id).filter(|id| !id.is_empty()),
            outputs: outputs
                .into_iter()
                .filter_map(text)
                .filter(|id| !id.is_empty())
                .collect(),
        })
    }
}

#[derive(Deserialize)]
struct WireObject<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    output_file_id: Option<&'a RawValue>,
    #[serde(borrow)]
    error_file_id: Option<&'a RawValue>,
    #[serde(borrow)]
    output_file: Option<&'a RawValue>,
    #[serde(borrow)]
    error_file: Option<&'a RawValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(body: &str) -> Vec<String> {
        RequestIds::find(body.as_bytes()).files
    }

    #[test]
    fn every_id_of_a_body_is_found() {
        assert_eq!(
            files(r#"{"input_file_id":"file-1","endpoint":"/v1/x"}"#),
            ["file-1"]
        );
        assert_eq!(
            files(r#"{"input_file_id":"mine","input_file_id":"theirs"}"#),
            ["mine", "theirs"],
            "servers differ in which they take"
        );
        assert_eq!(files(r#"{"Input_File\u005fID":"file-1"}"#), ["file-1"]);
        assert_eq!(
            files(r#"{"input":[{"content":[{"type":"input_file","file_id":"file-2"}]}]}"#),
            ["file-2"]
        );
        assert_eq!(files(r#"{"file_ids":["a",["b"]],"x":"c"}"#), ["a", "b"]);
        assert_eq!(files(r#"{"file_id":{"id":"a","name":"b"}}"#), ["a"]);
        assert_eq!(files(r#"{"file_id":"a","rest":"#), ["a"], "a cut body");
    }

    #[test]
    fn a_search_misses_no_file() {
        for body in [
            r#"{"file_id":"a"}"#,
            r#"{"File_IDs":["a"]}"#,
            r#"{"file\u005fid":"a"}"#,
            r#"{"\u0066ile_id":"a"}"#,
        ] {
            assert!(may_name_files(body.as_bytes()), "{body}");
            assert_eq!(files(body), ["a"], "{body}");
        }
        for body in [
            "",
            "_",
            r#"{"tool_call_id":"call_1","content":"caf\u00e9"}"#,
        ] {
            assert!(!may_name_files(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn a_callers_own_data_holds_no_ids() {
        let body = r#"{"metadata":{"file_id":"x"},"tools":[{"parameters":{"properties":{"file_id":{"type":"string"}}}}]}"#;
        assert!(RequestIds::find(body.as_bytes()).is_empty());
        let body = r#"{"messages":[{"content":[{"type":"tool_use","input":{"file_id":"x","a":[{"file_id":"y"}]}}]}]}"#;
        assert!(RequestIds::find(body.as_bytes()).is_empty());
        assert!(RequestIds::find(b"--b\r\nfile_id").is_empty());
        assert!(RequestIds::find(br#"{"file_id":null,"previous_response_id":null}"#).is_empty());
    }

    #[test]
    fn ids_without_a_known_owner_are_told_apart() {
        let body = r#"{"previous_response_id":"resp_1","conversation":{"id":"conv_1"},"tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]}"#;
        let found = RequestIds::find(body.as_bytes());
        assert_eq!(found.others, ["resp_1", "conv_1", "vs_1"]);
        assert_eq!(found.files, [] as [&str; 0]);
    }

    #[test]
    fn an_answer_tells_its_id_and_its_outputs() {
        let body = br#"{"id":"batch_1","output_file_id":"file-out","error_file_id":null,"x":1}"#;
        assert_eq!(
            StoredObject::parse(body),
            Some(StoredObject {
                id: Some("batch_1".to_owned()),
                outputs: vec!["file-out".to_owned()],
            })
        );
        assert_eq!(StoredObject::parse(b"{}"), Some(StoredObject::default()));
        assert_eq!(StoredObject::parse(b"[]"), None);
        assert_eq!(StoredObject::parse(br#"{"id":"a","id":"b"}"#), None);
    }
}
