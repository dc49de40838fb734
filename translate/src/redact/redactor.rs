//! Masks text with a set of detectors.

use std::borrow::Cow;
use std::sync::LazyLock;

use crate::redact::body;
use crate::redact::detectors::{self, DEFAULT, Detector};

/// Masks text with a set of detectors.
pub struct Redactor {
    detectors: Vec<Detector>,
}

/// The reason why a detector can't be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedactError {
    #[error("unknown detector \"{0}\"")]
    Unknown(String),
    #[error("\"{0}\" is not a usable regular expression: {1}")]
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
    /// Builds a redactor from detectors by name, and the operator's own regular expressions: a
    /// match of `badge` becomes `[BADGE]`.
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
            let own = Detector::of_pattern(name, pattern)
                .map_err(|error| RedactError::Pattern(name.to_owned(), error.to_string()))?;
            all.push(own);
        }
        Ok(Self { detectors: all })
    }

    pub fn mask_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut masked = Cow::Borrowed(text);
        // An image's data is not text, and is long.
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

    /// Masks every text in a JSON body, and the names of its members, except the keywords of the
    /// protocol itself. At most `limit` bytes of it are kept, and except for a margin no more are
    /// read.
    ///
    /// A body that is not JSON is masked as text.
    pub fn mask_body(&self, body: &[u8], limit: usize) -> Vec<u8> {
        body::mask(self, body, limit)
    }
}

static KEYS: LazyLock<Redactor> = LazyLock::new(|| Redactor {
    detectors: detectors::keys(),
});

/// Masks keys that are recognizable in any context: by their issuer's prefix, or after `Bearer`.
pub fn mask_keys(text: &str) -> Cow<'_, str> {
    KEYS.mask_text(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_body_keeps_its_shape() {
        let body = br#"{"model":"a@b.co","messages":[{"role":"user","content":[{"type":"text","text":"a@b.co"}]}],"n":1}"#;
        let masked = std::str::from_utf8(body)
            .unwrap()
            .replace("\"text\":\"a@b.co\"", "\"text\":\"[EMAIL]\"");
        assert_eq!(
            serde_json::from_slice::<Value>(&Redactor::default().mask_body(body, 1 << 20)).unwrap(),
            serde_json::from_str::<Value>(&masked).unwrap()
        );
    }

    #[test]
    fn names_and_numbers_are_masked_too() {
        let body = br#"{"input":{"jane@example.org":4111111111111111,"n":7}}"#;
        assert_eq!(
            serde_json::from_slice::<Value>(&Redactor::default().mask_body(body, 1 << 20)).unwrap(),
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
