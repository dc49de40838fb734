//! A JSON object that preserves its author's text: members in their order, values unparsed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::json;

/// Members that can be changed one by one; all others are written back byte for byte.
#[derive(Debug, Default)]
pub struct Object<'a>(Vec<(Cow<'a, str>, Cow<'a, RawValue>)>);

impl<'a> Object<'a> {
    pub fn parse(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    pub fn get(&self, name: &str) -> Option<&RawValue> {
        self.0
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_ref())
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_ref())
    }

    /// Sets a member's value; a new member is appended.
    pub fn set<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        // This crate's types can't fail to serialize.
        let Ok(value) = to_raw_value(value) else {
            return;
        };
        match self.0.iter_mut().find(|(own, _)| own == name) {
            Some((_, old)) => *old = Cow::Owned(value),
            None => self.0.push((name.to_owned().into(), Cow::Owned(value))),
        }
    }

    /// Renames a member. If the new name is taken, the member is dropped instead.
    pub fn rename(&mut self, name: &str, new: &'static str) {
        if self.get(new).is_some() {
            self.remove(name);
        } else if let Some((old, _)) = self.0.iter_mut().find(|(own, _)| own == name) {
            *old = new.into();
        }
    }

    pub fn remove(&mut self, name: &str) {
        self.retain(|own| own != name);
    }

    /// Drops the members that are null.
    pub fn drop_nulls(&mut self) {
        self.0.retain(|(_, value)| value.get() != "null");
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.0.retain(|(name, _)| keep(name));
    }
}

impl Serialize for Object<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value.as_ref())))
    }
}

impl Object<'_> {
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::new();
        json::write(&mut out, self);
        out
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some((name, value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    members.push((name.0, Cow::Borrowed(value)));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}

/// Serde deserializes a `Cow` as owned unless it has `borrow`.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_changed_is_written_as_it_was() {
        let mut object = Object::parse(r#"{"a": 1e2, "b\u0041":[ 1 ],"c":"\u00e9"}"#).unwrap();
        object.set("d", &true);
        object.rename("a", "z");
        object.remove("c");
        assert_eq!(
            String::from_utf8(object.to_vec()).unwrap(),
            r#"{"z":1e2,"bA":[ 1 ],"d":true}"#
        );
    }

    #[test]
    fn a_new_name_that_is_taken_wins() {
        let mut object = Object::parse(r#"{"a":1,"b":2}"#).unwrap();
        object.rename("a", "b");
        assert_eq!(object.to_vec(), br#"{"b":2}"#);
    }
}
