//! Translates a chat completion into an Anthropic message.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::client::answer::Completion;
use crate::client::thoughts;
use crate::error::ApiError;
use crate::json;
use crate::openai::thoughts::Thought;
use crate::openai::usage::WireUsage;

#[derive(Serialize)]
struct Message<'a> {
    id: Cow<'a, str>,
    r#type: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Block<'a>>,
    stop_reason: &'static str,
    stop_sequence: (),
    usage: Usage,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Block<'a> {
    Own(OwnBlock<'a>),
    /// As signed by Anthropic.
    Signed(Thought),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum OwnBlock<'a> {
    Thinking {
        thinking: &'a str,
        signature: String,
    },
    RedactedThinking {
        data: String,
    },
    Text {
        text: &'a str,
        citations: (),
    },
    ToolUse {
        id: Cow<'a, str>,
        name: &'a str,
        input: Box<RawValue>,
    },
}

/// Anthropic doesn't count cached tokens as part of the input.
#[derive(Debug, Serialize, Clone, Copy, Default)]
pub(super) struct Usage {
    input_tokens: u64,
    output_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let usage = crate::cost::Usage::from(wire);
        Self {
            input_tokens: usage
                .input
                .saturating_sub(usage.cache_read)
                .saturating_sub(usage.cache_write),
            output_tokens: usage.output,
            cache_creation_input_tokens: usage.cache_write,
            cache_read_input_tokens: usage.cache_read,
        }
    }
}

/// Maps OpenAI's finish reason to Anthropic's stop reason. Some providers send "stop" for an answer
/// that calls tools.
pub(super) fn stop_reason(finish_reason: Option<&str>, calls_tools: bool) -> &'static str {
    match finish_reason {
        Some("length") => "max_tokens",
        Some("content_filter") => "refusal",
        Some("tool_calls" | "function_call") => "tool_use",
        _ if calls_tools => "tool_use",
        _ => "end_turn",
    }
}

/// Returns an id that begins with `msg_`, because some clients check for it.
pub(super) fn message_id(id: &str) -> String {
    if id.starts_with("msg_") {
        return id.to_owned();
    }
    let id = id.strip_prefix("chatcmpl-").unwrap_or(id);
    format!("msg_{id}")
}

/// The reasoning of a call: Anthropic's own, or another provider's, sealed as an opaque text.
pub(super) enum Carried {
    Signed(Vec<Thought>),
    Sealed(String),
}

pub(super) fn carried(extra_content: &RawValue) -> Carried {
    #[derive(serde::Deserialize)]
    struct Extra {
        anthropic: Blocks,
    }
    #[derive(serde::Deserialize)]
    struct Blocks {
        thinking_blocks: Vec<Thought>,
    }
    match serde_json::from_str::<Extra>(extra_content.get()) {
        Ok(extra) => Carried::Signed(extra.anthropic.thinking_blocks),
        Err(_) => Carried::Sealed(thoughts::seal(extra_content)),
    }
}

/// Translates a body.
pub fn translate_response(body: &[u8]) -> Result<Vec<u8>, ApiError> {
    let completion = Completion::parse(body)?;
    let choice = completion.choice()?;
    let message = &choice.message;
    let calls = message.tool_calls.as_deref().unwrap_or_default();
    let mut content = Vec::new();
    let thinking = message.thoughts();
    let extra = calls.iter().find_map(|call| call.extra_content);
    match (extra.map(carried), thinking) {
        (Some(Carried::Signed(thoughts)), _) => {
            content.extend(thoughts.into_iter().map(Block::Signed));
        }
        (Some(Carried::Sealed(signature)), Some(thinking)) => {
            content.push(Block::Own(OwnBlock::Thinking {
                thinking,
                signature,
            }));
        }
        (Some(Carried::Sealed(data)), None) => {
            content.push(Block::Own(OwnBlock::RedactedThinking { data }));
        }
        (None, Some(thinking)) => content.push(Block::Own(OwnBlock::Thinking {
            thinking,
            signature: String::new(),
        })),
        (None, None) => {}
    }
    for text in [&message.content, &message.refusal] {
        if let Some(text) = text.as_deref().filter(|text| !text.is_empty()) {
            content.push(Block::Own(OwnBlock::Text {
                text,
                citations: (),
            }));
        }
    }
    let answer = completion.seed();
    for (number, call) in calls.iter().enumerate() {
        content.push(Block::Own(OwnBlock::ToolUse {
            id: call.id_in(&answer, number),
            name: &call.function.name,
            input: input_of(&call.function.arguments())?,
        }));
    }
    let translated = Message {
        id: message_id(completion.id.as_deref().unwrap_or_default()).into(),
        r#type: "message",
        role: "assistant",
        model: completion.model.as_deref().unwrap_or_default(),
        content,
        stop_reason: stop_reason(choice.finish_reason.as_deref(), !calls.is_empty()),
        stop_sequence: (),
        usage: completion.usage.unwrap_or_default().into(),
    };
    let mut out = Vec::with_capacity(body.len() + 256);
    json::write(&mut out, &translated);
    Ok(out)
}

/// Parses a call's arguments as an object. A model may have written something else.
fn input_of(arguments: &str) -> Result<Box<RawValue>, ApiError> {
    let text = match arguments.trim() {
        "" | "null" => "{}",
        text => text,
    };
    RawValue::from_string(text.to_owned())
        .ok()
        .filter(|raw| raw.get().starts_with('{'))
        .ok_or_else(|| {
            ApiError::new(
                502,
                "The model called a tool with arguments that are not a JSON object",
            )
            .with_code("invalid_tool_arguments")
        })
}
