//! Signed reasoning, which its provider needs back with the results of the calls it led to.
//!
//! It travels in `extra_content` of the first of these calls, in the shape of Anthropic's blocks,
//! whichever provider serves the model: a signature from one host of Claude is valid at another.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::ApiError;
use crate::json;
use crate::openai::message::Message;

/// A block of reasoning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", try_from = "Wire")]
pub(crate) enum Thought {
    Thinking { thinking: String, signature: String },
    RedactedThinking { data: String },
}

/// The wire form of a block; its type determines which members are required.
#[derive(Deserialize)]
struct Wire {
    r#type: String,
    thinking: Option<String>,
    signature: Option<String>,
    data: Option<String>,
}

impl TryFrom<Wire> for Thought {
    type Error = &'static str;

    fn try_from(wire: Wire) -> Result<Self, Self::Error> {
        match (
            wire.r#type.as_str(),
            wire.thinking,
            wire.signature,
            wire.data,
        ) {
            ("thinking", Some(thinking), Some(signature), _) => Ok(Self::Thinking {
                thinking,
                signature,
            }),
            ("redacted_thinking", _, _, Some(data)) => Ok(Self::RedactedThinking { data }),
            _ => Err("it is not a thinking block with its signature"),
        }
    }
}

/// Returns the reasoning blocks that came with a turn's calls.
pub(crate) fn of_message(message: &Message<'_>, at: &str) -> Result<Vec<Thought>, ApiError> {
    let carried = message
        .tool_calls
        .iter()
        .flatten()
        .filter_map(|call| call.extra_content.as_ref()?.anthropic.as_ref())
        .flat_map(|extra| &extra.thinking_blocks);
    carried.map(|raw| read(raw, at)).collect()
}

fn read(raw: &RawValue, at: &str) -> Result<Thought, ApiError> {
    serde_json::from_str(raw.get()).map_err(|error| {
        let param = format!("{at}.tool_calls[0].extra_content.anthropic.thinking_blocks");
        let words = format!("`{param}` must come back as it was: {error}");
        ApiError::invalid(param, words)
    })
}

/// Assembles the reasoning blocks of a stream from their pieces.
#[derive(Debug, Default)]
pub(crate) struct Collector(Vec<Thought>);

impl Collector {
    /// Starts a block.
    pub fn begin(&mut self) {
        self.0.push(Thought::Thinking {
            thinking: String::new(),
            signature: String::new(),
        });
    }

    /// Adds a redacted block.
    pub fn redacted(&mut self, data: &str) {
        self.0.push(Thought::RedactedThinking {
            data: data.to_owned(),
        });
    }

    /// Appends to the current block.
    pub fn add(&mut self, more: &str, more_signature: &str) {
        if let Some(Thought::Thinking {
            thinking,
            signature,
        }) = self.0.last_mut()
        {
            thinking.push_str(more);
            signature.push_str(more_signature);
        }
    }

    /// Takes the blocks so far as a member of the call they led to, with a leading comma; empty
    /// without blocks. Unsigned blocks need not be sent back.
    pub fn take_member(&mut self) -> Vec<u8> {
        let thoughts: Vec<Thought> = std::mem::take(&mut self.0)
            .into_iter()
            .filter(Thought::is_signed)
            .collect();
        let mut member = Vec::new();
        if !thoughts.is_empty() {
            member.extend_from_slice(br#","extra_content":{"anthropic":{"thinking_blocks":"#);
            json::write(&mut member, &thoughts);
            member.extend_from_slice(b"}}");
        }
        member
    }
}

impl Thought {
    pub fn is_signed(&self) -> bool {
        match self {
            Self::Thinking { signature, .. } => !signature.is_empty(),
            Self::RedactedThinking { .. } => true,
        }
    }
}
