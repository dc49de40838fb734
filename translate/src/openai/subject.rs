//! The text that a routing decision is based on.

use crate::openai::message::{Content, Message};

/// Maximum characters of the last user turn; longer text is cut before an embedding model would cut
/// it.
const MAX_LAST: usize = 4000;
/// A user turn shorter than this says little without the previous one.
const SHORT: usize = 120;
/// Maximum characters of the previous user turn.
const MAX_BEFORE: usize = 600;
/// Maximum characters of the system prompt.
const MAX_SYSTEM: usize = 300;

/// The summary of a conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The last user turn, the one before it if that is short, and the beginning of the system
    /// prompt. In this order, so that a model with a short context reads the most relevant part.
    /// Lengths are in characters.
    pub text: String,
    /// Set if the model must accept images.
    pub has_images: bool,
}

impl Subject {
    pub fn of(messages: &[Message<'_>]) -> Self {
        let mut turns = messages
            .iter()
            .rev()
            .filter(|message| message.role == "user")
            .map(Message::text)
            .filter(|text| !text.trim().is_empty());
        let last = turns.next().unwrap_or_default();
        let before = turns.next().filter(|_| last.chars().count() < SHORT);
        let system = messages
            .iter()
            .find(|message| matches!(&*message.role, "system" | "developer"))
            .map(Message::text);
        let parts = [
            Some(beginning(&last, MAX_LAST)),
            before.as_deref().map(|text| beginning(text, MAX_BEFORE)),
            system.as_deref().map(|text| beginning(text, MAX_SYSTEM)),
        ];
        let parts: Vec<&str> = parts
            .into_iter()
            .flatten()
            .filter(|part| !part.is_empty())
            .collect();
        Self {
            text: parts.join("\n\n"),
            has_images: messages.iter().any(has_image),
        }
    }
}

fn beginning(text: &str, characters: usize) -> &str {
    let text = text.trim();
    match text.char_indices().nth(characters) {
        Some((end, _)) => text.get(..end).unwrap_or(text),
        None => text,
    }
}

fn has_image(message: &Message<'_>) -> bool {
    match &message.content {
        Some(Content::Parts(parts)) => parts.iter().any(|part| part.kind == "image_url"),
        Some(Content::Text(_)) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(messages: &str) -> Subject {
        Subject::of(&serde_json::from_str::<Vec<Message<'_>>>(messages).unwrap())
    }

    #[test]
    fn the_last_user_turn_comes_first() {
        let subject = subject(
            r#"[{"role":"system","content":"Be brief."},{"role":"user","content":"Who wrote Faust?"},
                {"role":"assistant","content":"Goethe."},{"role":"user","content":"When?"}]"#,
        );
        assert_eq!(subject.text, "When?\n\nWho wrote Faust?\n\nBe brief.");
        assert!(!subject.has_images);
    }

    #[test]
    fn a_long_turn_stands_alone_and_is_cut() {
        let long = "ä".repeat(MAX_LAST + 1);
        let subject = subject(&format!(
            r#"[{{"role":"user","content":"before"}},{{"role":"user","content":[{{"type":"text","text":"{long}"}},
                {{"type":"image_url","image_url":{{"url":"data:,"}}}}]}}]"#
        ));
        assert_eq!(subject.text.chars().count(), MAX_LAST);
        assert!(subject.has_images);
    }
}
