//! The name of a model at a provider.

use std::fmt;

/// Longer names are rejected.
const MAX_NAME_LENGTH: usize = 200;

/// A model at a provider, written `provider/model`. The model's own name may contain further
/// slashes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelId {
    pub provider: String,
    pub name: String,
}

impl ModelId {
    pub fn new(provider: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            provider: provider.into(),
            name: name.into(),
        }
    }

    /// Splits at the first slash. Returns `None` without one, or if either side is empty.
    pub fn parse(text: &str) -> Option<Self> {
        let (provider, name) = text.split_once('/')?;
        (!provider.is_empty() && !name.is_empty()).then(|| Self::new(provider, name))
    }
}

/// Returns the id of a model, `provider/model`.
pub fn id_of(provider: &str, name: &str) -> String {
    [provider, "/", name].concat()
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.name)
    }
}

/// Percent-encodes a model's name as one path segment: nothing in it can end the segment or lead to
/// another.
pub fn encode_in_path(name: &str) -> String {
    let only_dots = name.bytes().all(|byte| byte == b'.');
    name.bytes()
        .fold(String::with_capacity(name.len()), |mut path, byte| {
            let is_plain = byte.is_ascii_alphanumeric()
                || matches!(byte, b'-' | b'_' | b'~')
                || (byte == b'.' && !only_dots);
            if is_plain {
                path.push(char::from(byte));
            } else {
                path.push_str(&format!("%{byte:02X}"));
            }
            path
        })
}

/// Returns true if a client's text is plausible as a model's name: printable ASCII without spaces,
/// quotes or backslashes.
///
/// The name ends up in bodies, headers and paths of upstream requests, so nothing else may pass.
pub fn is_plausible_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_NAME_LENGTH
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_its_segment_of_a_path() {
        assert_eq!(encode_in_path("gemini-2.5-pro"), "gemini-2.5-pro");
        assert_eq!(encode_in_path("../a?b#c%"), "..%2Fa%3Fb%23c%25");
        assert_eq!(encode_in_path(".."), "%2E%2E");
    }

    #[test]
    fn a_model_name_may_hold_slashes() {
        let id = ModelId::parse("together/meta-llama/Llama-3.3-70B").unwrap();
        assert_eq!(id.provider, "together");
        assert_eq!(id.name, "meta-llama/Llama-3.3-70B");
        assert_eq!(id.to_string(), "together/meta-llama/Llama-3.3-70B");
    }

    #[test]
    fn half_a_name_is_none() {
        for text in ["gpt-4o", "/gpt-4o", "openai/", ""] {
            assert_eq!(ModelId::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn names_that_could_break_out_of_a_header_or_body_are_refused() {
        for text in [
            "a b",
            "a\r\nx: y",
            "a\"b",
            "a\\b",
            "é",
            "",
            &"x".repeat(201),
        ] {
            assert!(!is_plausible_name(text), "{text:?}");
        }
        assert!(is_plausible_name("ft:gpt-4o-mini-2024-07-18:org::id"));
    }
}
