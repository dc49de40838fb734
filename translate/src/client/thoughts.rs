//! Carries a provider's signed reasoning through an API whose field is meant for another
//! provider's.
//!
//! Clients send signatures and encrypted reasoning back unchanged. Sealed ones identify their
//! provider, so that the provider that signed them gets them back, and no other sees them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

/// Prefix of the texts that we sealed.
pub const MARK: &str = "opentracy:";

/// Encodes a tool call's `extra_content` as an opaque text.
pub fn seal(extra_content: &RawValue) -> String {
    format!("{MARK}{}", STANDARD.encode(extra_content.get()))
}

/// Decodes the `extra_content` from a text that we sealed.
pub fn open(text: &str) -> Option<Box<RawValue>> {
    let json = STANDARD.decode(text.strip_prefix(MARK)?).ok()?;
    let json = String::from_utf8(json).ok()?;
    RawValue::from_string(json)
        .ok()
        .filter(|raw| raw.get().starts_with('{'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_again_and_nothing_else_does() {
        let extra =
            RawValue::from_string(r#"{"google":{"thought_signature":"x"}}"#.into()).unwrap();
        assert_eq!(open(&seal(&extra)).unwrap().get(), extra.get());
        for text in ["", "EqQB", "opentracy:", "opentracy:!!", "opentracy:MQ=="] {
            assert!(open(text).is_none(), "{text}");
        }
    }
}
