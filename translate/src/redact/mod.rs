//! Masks personal data and secrets in recorded text.
//!
//! A detector is a pattern and a check: what has a check digit must pass it, so that an order's number is left alone. What
//! looks like a key is masked whoever issued it. How often each is right is measured in `tests/redaction.rs`.

mod checks;
mod detectors;

use std::borrow::Cow;
use std::sync::LazyLock;

use regex_lite::Regex;
use serde_json::{Map, Value};

use crate::json;
pub use detectors::{DEFAULT, NATIONAL_IDS};
use detectors::{Detector, SECRET};

/// What masks.
pub struct Redactor {
    detectors: Vec<Detector>,
}

/// A detector that is not to be had.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedactError {
    #[error("there is no detector \"{0}\"")]
    Unknown(String),
    #[error("\"{0}\" is no regular expression: {1}")]
    Pattern(String, String),
}

impl Default for Redactor {
    fn default() -> Self {
        let detectors = DEFAULT.iter().filter_map(|name| detectors::find(name));
        Self {
            detectors: detectors.flatten().collect(),
        }
    }
}

impl Redactor {
    /// With detectors by their names, and regular expressions of the operator's own: a match of `badge` becomes `[BADGE]`.
    pub fn new<'a>(
        names: impl IntoIterator<Item = &'a str>,
        patterns: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, RedactError> {
        let mut all = Vec::new();
        for name in names {
            let found = detectors::find(name);
            all.extend(found.ok_or_else(|| RedactError::Unknown(name.to_owned()))?);
        }
        for (name, pattern) in patterns {
            let regex = Regex::new(pattern)
                .map_err(|error| RedactError::Pattern(name.to_owned(), error.to_string()))?;
            all.push(Detector::new(regex, format!("[{}]", name.to_uppercase())));
        }
        Ok(Self { detectors: all })
    }

    pub fn mask_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut masked = Cow::Borrowed(text);
        // What an image is made of is no text, and long.
        if text.starts_with("data:") {
            return masked;
        }
        for detector in &self.detectors {
            if let Some(changed) = detector.mask(&masked) {
                masked = Cow::Owned(changed);
            }
        }
        masked
    }

    /// Masks every text in a JSON body, and the names of its members, apart from the words of the protocol itself.
    ///
    /// A body that is not JSON is masked as text.
    pub fn mask_body(&self, body: &[u8]) -> Vec<u8> {
        match json::from_bytes::<Value>(body) {
            Ok(mut value) => {
                self.mask_value(&mut value);
                serde_json::to_vec(&value).unwrap_or_default()
            }
            Err(_) => self
                .mask_text(&String::from_utf8_lossy(body))
                .into_owned()
                .into_bytes(),
        }
    }

    fn mask_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(masked) = self.mask_text(text) {
                    *text = masked;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.mask_value(item)),
            Value::Object(members) => self.mask_members(members),
            // A card's number may be a number.
            Value::Number(number) => {
                if let Cow::Owned(masked) = self.mask_text(&number.to_string()) {
                    *value = Value::String(masked);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn mask_members(&self, members: &mut Map<String, Value>) {
        let mut renamed = Vec::new();
        for (name, value) in members.iter_mut() {
            let of_the_protocol = matches!(
                name.as_str(),
                "model"
                    | "role"
                    | "type"
                    | "id"
                    | "call_id"
                    | "tool_call_id"
                    | "tool_use_id"
                    | "object"
                    | "created"
                    | "created_at"
                    | "finish_reason"
            );
            if !of_the_protocol {
                self.mask_value(value);
            }
            if let Cow::Owned(masked) = self.mask_text(name) {
                renamed.push((name.clone(), masked));
            }
        }
        for (name, masked) in renamed {
            if let Some(value) = members.remove(&name) {
                members.insert(masked, value);
            }
        }
    }
}

static SECRETS: LazyLock<Redactor> = LazyLock::new(|| Redactor {
    detectors: detectors::find(SECRET).unwrap_or_default(),
});

/// Masks keys and tokens.
pub fn mask_secrets(text: &str) -> Cow<'_, str> {
    SECRETS.mask_text(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_keeps_its_shape() {
        let body = br#"{"model":"a@b.co","messages":[{"role":"user","content":[{"type":"text","text":"a@b.co"}]}],"n":1}"#;
        let masked = std::str::from_utf8(body)
            .unwrap()
            .replace("\"text\":\"a@b.co\"", "\"text\":\"[EMAIL]\"");
        assert_eq!(
            serde_json::from_slice::<Value>(&Redactor::default().mask_body(body)).unwrap(),
            serde_json::from_str::<Value>(&masked).unwrap()
        );
    }

    #[test]
    fn names_and_numbers_are_masked_too() {
        let body = br#"{"input":{"jane@example.org":4111111111111111,"n":7}}"#;
        assert_eq!(
            serde_json::from_slice::<Value>(&Redactor::default().mask_body(body)).unwrap(),
            serde_json::json!({"input": {"[EMAIL]": "[CARD]", "n": 7}})
        );
    }

    #[test]
    fn patterns_of_ones_own_have_names() {
        let redactor = Redactor::new(["email"], [("badge", r"EMP-\d{6}")]).unwrap();
        assert_eq!(
            redactor.mask_text("EMP-123456 wrote to a@b.co from 10.1.2.3"),
            "[BADGE] wrote to [EMAIL] from 10.1.2.3"
        );
        let wrong = Redactor::new(["emial"], []).err();
        assert_eq!(wrong, Some(RedactError::Unknown("emial".to_owned())));
        assert!(matches!(
            Redactor::new([], [("x", "(")]).err(),
            Some(RedactError::Pattern(..))
        ));
    }

    #[test]
    fn images_are_left_as_they_are() {
        let image = "data:image/png;base64,AbCd1234EfGh5678IjKl9012";
        assert_eq!(Redactor::default().mask_text(image), image);
    }
}
