//! Words of a conversation, for search. Both stores index the same words, so they find the same
//! traces.
//!
//! A word is a run of lowercase letters and digits. In scripts without spaces, each character is a
//! word.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

use opentracy_translate::hash::fnv1a;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Longer runs are base64 or hashes, and are not indexed.
const MAX_WORD_BYTES: usize = 48;
/// Limit for one call.
const MAX_WORDS: usize = 20_000;

/// Returns the words of a search text.
pub fn of_search(text: &str) -> Vec<String> {
    let mut words = Words::default();
    words.add(text);
    words
        .text
        .split_ascii_whitespace()
        .map(str::to_owned)
        .collect()
}

/// Collects words: each once, separated by spaces.
#[derive(Default)]
pub struct Words {
    seen: HashSet<u64, BuildHasherDefault<IsHash>>,
    text: String,
    /// The incomplete current word.
    word: String,
}

impl Words {
    pub fn into_text(self) -> String {
        self.text
    }

    /// Adds the words of a request or response body in one of the client APIs. Returns an error if
    /// the body is not valid JSON.
    pub fn add_body(&mut self, body: &str) -> Result<(), serde_json::Error> {
        let mut parser = serde_json::Deserializer::from_str(body);
        let seed = Collect {
            words: self,
            place: Place::Body,
        };
        seed.deserialize(&mut parser)?;
        parser.end()
    }

    pub fn add(&mut self, text: &str) {
        for letter in text.chars() {
            if letter.is_ascii_alphanumeric() {
                self.word.push(letter.to_ascii_lowercase());
            } else if letter.is_ascii() || !letter.is_alphanumeric() {
                self.end_word();
            } else if stands_alone(letter) {
                self.end_word();
                self.word.push(letter);
                self.end_word();
            } else {
                self.word.extend(letter.to_lowercase());
            }
        }
        self.end_word();
    }

    fn end_word(&mut self) {
        let is_word = !self.word.is_empty() && self.word.len() <= MAX_WORD_BYTES;
        if is_word && self.seen.len() < MAX_WORDS && self.seen.insert(hash(&self.word)) {
            if !self.text.is_empty() {
                self.text.push(' ');
            }
            self.text.push_str(&self.word);
        }
        self.word.clear();
    }
}

/// Lower half of a 128-bit digest. Two words of a call collide in about one of 10⁹ calls.
fn hash(word: &str) -> u64 {
    fnv1a(word.as_bytes()) as u64
}

/// A pass-through hasher for keys that are hashes already.
#[derive(Default)]
struct IsHash(u64);

impl Hasher for IsHash {
    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The location of a value in a body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The body itself.
    Body,
    /// In the conversation, where a member's name decides if it holds words.
    Conversation,
    /// A member that holds words.
    Words,
}

/// Collects the words of a value and discards the rest.
struct Collect<'w> {
    words: &'w mut Words,
    place: Place,
}

impl Collect<'_> {
    /// Returns the location that a member's name stands for; `None` if it can't hold words.
    fn member(&self, name: &str) -> Option<Place> {
        match (self.place, name) {
            (
                Place::Body,
                "messages" | "system" | "input" | "instructions" | "choices" | "content" | "output"
                | "refusal",
            )
            // Words in a message; its other members are protocol fields or images.
            | (
                Place::Conversation | Place::Words,
                "content" | "text" | "refusal" | "arguments" | "name" | "reasoning_content"
                | "thinking" | "output",
            ) => Some(Place::Words),
            (Place::Body, _) => None,
            _ => Some(Place::Conversation),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Collect<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Collect<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if self.place == Place::Words {
            self.words.add(text);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        // A string in a list is not a member of a message.
        let place = match self.place {
            Place::Words => Place::Conversation,
            place => place,
        };
        loop {
            let item = Collect {
                words: self.words,
                place,
            };
            if items.next_element_seed(item)?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<std::borrow::Cow<'_, str>>()? {
            match self.member(&name) {
                Some(place) => {
                    let words = &mut *self.words;
                    members.next_value_seed(Collect { words, place })?;
                }
                None => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
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
}

/// Returns `true` in scripts without spaces between words: Kana, Han, Thai, Lao, Khmer, Burmese.
fn stands_alone(letter: char) -> bool {
    matches!(letter,
        '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_body(body: &str) -> String {
        let mut words = Words::default();
        words.add_body(body).unwrap();
        words.into_text()
    }

    #[test]
    fn words_are_found_and_images_are_not() {
        let request = r#"{"model": "m", "messages": [{"role": "user", "content": [
            {"type": "text", "text": "What is THIS, and this?"}, {"type": "image_url", "image_url": {"url": "data:xyz"}}]}]}"#;
        assert_eq!(of_body(request), "what is this and");
        let response = r#"{"id": "x", "choices": [{"message": {"content": "A cat."}, "finish_reason": "stop"}]}"#;
        assert_eq!(of_body(response), "a cat");
    }

    #[test]
    fn every_api_has_its_words() {
        for (body, words) in [
            (
                r#"{"system": "s", "messages": [{"content": [{"type": "tool_use", "name": "look", "input": {"text": "t"}}]}]}"#,
                "s look t",
            ),
            (r#"{"instructions": "i", "input": "one two"}"#, "i one two"),
            (
                r#"{"output": [{"type": "message", "content": [{"type": "output_text", "text": "yes"}]}]}"#,
                "yes",
            ),
            (
                r#"{"content": [{"type": "text", "text": "a\u00df"}], "model": "m"}"#,
                "aß",
            ),
        ] {
            assert_eq!(of_body(body), words);
        }
        assert!(Words::default().add_body("{\"messages\": ").is_err());
    }

    #[test]
    fn every_script_has_words() {
        assert_eq!(
            of_search("Straße, naïve; e-mail 東京都 Привет"),
            ["straße", "naïve", "e", "mail", "東", "京", "都", "привет"]
        );
    }
}
