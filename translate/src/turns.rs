//! A conversation with strictly alternating turns that the user begins, as Anthropic and Bedrock
//! require.

use serde::Serialize;

/// A run of messages with the same role, in blocks of the wire format.
#[derive(Serialize)]
pub(crate) struct Turn<B> {
    pub role: Role,
    pub content: Vec<B>,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    User,
    Assistant,
}

/// Stands in for a question if the conversation begins with the assistant.
const OPENING: &str = "(The assistant opens the conversation.)";
const PROMPT: &str = "(Go on.)";

/// Turns under construction.
pub(crate) struct Turns<B>(Vec<Turn<B>>);

impl<B> Turns<B> {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    /// Appends blocks to the last turn if it has the same role, otherwise starts a new turn.
    pub fn append(&mut self, role: Role, blocks: Vec<B>) {
        if blocks.is_empty() {
            return;
        }
        match self.0.last_mut() {
            Some(turn) if turn.role == role => turn.content.extend(blocks),
            _ => self.0.push(Turn {
                role,
                content: blocks,
            }),
        }
    }

    /// Returns the turns: the user's first, and in each one the tool results before everything
    /// else.
    pub fn finish(self, is_result: fn(&B) -> bool, text: fn(&'static str) -> B) -> Vec<Turn<B>> {
        let mut turns = self.0;
        for turn in &mut turns {
            let content = std::mem::take(&mut turn.content);
            let (results, others): (Vec<B>, Vec<B>) = content.into_iter().partition(is_result);
            turn.content = results;
            turn.content.extend(others);
        }
        let opening = match turns.first() {
            None => Some(PROMPT),
            Some(first) if first.role == Role::Assistant => Some(OPENING),
            Some(_) => None,
        };
        if let Some(opening) = opening {
            let content = vec![text(opening)];
            turns.insert(
                0,
                Turn {
                    role: Role::User,
                    content,
                },
            );
        }
        turns
    }
}
