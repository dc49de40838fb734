//! Ids of tool calls, which one provider issues and another receives.

use std::borrow::Cow;

use crate::hash;

/// Returns a call's id in the characters and length that a provider allows. An illegal id is
/// replaced by its hash, so that a call and its result keep the same id, and no two calls share
/// one.
pub(crate) fn legal(id: &str, max_length: usize, is_legal: fn(u8) -> bool) -> Cow<'_, str> {
    if !id.is_empty() && id.len() <= max_length && id.bytes().all(is_legal) {
        return Cow::Borrowed(id);
    }
    Cow::Owned(format!("call_{:032x}", hash::fnv1a(id.as_bytes())))
}

/// Returns an id for a call that its provider gave none, unique within the answer.
pub(crate) fn derived(answer: &str, number: usize, function: &str) -> String {
    let seed = format!("{answer}/{number}/{function}");
    format!("call_{:024x}", hash::fnv1a(seed.as_bytes()) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_word(byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || byte == b'_'
    }

    #[test]
    fn foreign_ids_become_legal_and_stay_apart() {
        assert_eq!(legal("toolu_01", 64, is_word), "toolu_01");
        let (a, b) = (legal("call:1", 64, is_word), legal("call.1", 64, is_word));
        assert_ne!(a, b);
        assert_eq!(a, legal("call:1", 64, is_word));
        assert!(a.bytes().all(is_word));
        assert_eq!(legal(&"x".repeat(65), 64, is_word).len(), 37);
        assert!(legal("", 64, is_word).starts_with("call_"));
    }
}
