//! Translates a Converse answer into a chat completion.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::bedrock::usage::TokenUsage;
use crate::cost::Usage;
use crate::error::ApiError;
use crate::exchange::Origin;
use crate::json;
use crate::openai::completion::{
    AnthropicExtra, Choice, Completion, ExtraContent, Function, Message, ToolCall, join,
};
use crate::openai::thoughts::Thought;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow)]
    output: Output<'a>,
    #[serde(borrow)]
    stop_reason: Cow<'a, str>,
    #[serde(default)]
    usage: TokenUsage,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    message: OwnMessage<'a>,
}

#[derive(Deserialize)]
struct OwnMessage<'a> {
    #[serde(borrow)]
    content: Vec<Block<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block<'a> {
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    tool_use: Option<ToolUse<'a>>,
    #[serde(default)]
    reasoning_content: Option<Reasoning>,
    #[serde(default, borrow)]
    citations_content: Option<Cited<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolUse<'a> {
    #[serde(borrow)]
    tool_use_id: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default, borrow)]
    input: Option<&'a RawValue>,
    /// Set for a tool that Bedrock runs itself.
    #[serde(default, borrow)]
    r#type: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reasoning {
    #[serde(default)]
    reasoning_text: Option<ReasoningText>,
    #[serde(default)]
    redacted_content: Option<String>,
}

#[derive(Deserialize)]
struct ReasoningText {
    text: String,
    #[serde(default)]
    signature: Option<String>,
}

/// A text with its citations.
#[derive(Deserialize)]
struct Cited<'a> {
    #[serde(default, borrow)]
    content: Vec<CitedText<'a>>,
}

#[derive(Deserialize)]
struct CitedText<'a> {
    #[serde(default, borrow)]
    text: Cow<'a, str>,
}

impl Reasoning {
    fn thought(&self) -> Option<Thought> {
        match (&self.reasoning_text, &self.redacted_content) {
            (Some(reasoning), _) => Some(Thought::Thinking {
                thinking: reasoning.text.clone(),
                signature: reasoning.signature.clone().unwrap_or_default(),
            }),
            (None, Some(data)) => Some(Thought::RedactedThinking { data: data.clone() }),
            (None, None) => None,
        }
    }
}

/// Maps Bedrock's stop reason to OpenAI's finish reason; returns an error if it is a failure of the
/// model.
pub(super) fn finish_reason(stop_reason: &str) -> Result<&'static str, ApiError> {
    match stop_reason {
        "max_tokens" | "model_context_window_exceeded" => Ok("length"),
        "tool_use" => Ok("tool_calls"),
        "guardrail_intervened" | "content_filtered" => Ok("content_filter"),
        "malformed_model_output" | "malformed_tool_use" => {
            let words = format!("{stop_reason}: the model's answer could not be read");
            Err(ApiError::new(502, words).with_code(stop_reason.to_owned()))
        }
        _ => Ok("stop"),
    }
}

/// Translates a body.
pub fn translate_response(body: &[u8], origin: &Origin<'_>) -> Result<Vec<u8>, ApiError> {
    let answer: Answer<'_> = json::from_bytes(body).map_err(ApiError::unreadable)?;
    let blocks = &answer.output.message.content;
    let thoughts: Vec<Thought> = blocks
        .iter()
        .filter_map(|block| block.reasoning_content.as_ref()?.thought())
        .collect();
    let signed: Vec<Box<RawValue>> = thoughts
        .iter()
        .filter(|thought| thought.is_signed())
        .filter_map(|thought| serde_json::value::to_raw_value(thought).ok())
        .collect();
    let mut tool_calls: Vec<ToolCall<'_>> = blocks
        .iter()
        .filter_map(|block| block.tool_use.as_ref())
        .filter(|call| call.r#type.is_none())
        .map(|call| ToolCall {
            id: call.tool_use_id.as_ref().into(),
            r#type: "function",
            function: Function {
                name: &call.name,
                arguments: call.input.map_or("{}", RawValue::get),
            },
            extra_content: None,
        })
        .collect();
    if let Some(first) = tool_calls.first_mut()
        && !signed.is_empty()
    {
        first.extra_content = Some(ExtraContent::Anthropic(AnthropicExtra {
            thinking_blocks: signed.iter().map(AsRef::as_ref).collect(),
        }));
    }
    let texts = blocks.iter().flat_map(|block| {
        let cited = block
            .citations_content
            .iter()
            .flat_map(|cited| cited.content.iter().map(|text| text.text.as_ref()));
        block.text.as_deref().into_iter().chain(cited)
    });
    let id = origin.completion_id();
    let completion = Completion {
        id: &id,
        object: "chat.completion",
        created: origin.created,
        model: origin.model,
        choices: vec![Choice {
            index: 0,
            message: Message {
                role: "assistant",
                content: join(texts),
                reasoning_content: join(thoughts.iter().filter_map(|thought| match thought {
                    Thought::Thinking { thinking, .. } => Some(thinking.as_str()),
                    Thought::RedactedThinking { .. } => None,
                })),
                tool_calls,
                ..Message::default()
            },
            logprobs: None,
            finish_reason: finish_reason(&answer.stop_reason)?,
        }],
        usage: Usage::from(answer.usage).into(),
    };
    let mut out = Vec::with_capacity(body.len() + 256);
    json::write(&mut out, &completion);
    Ok(out)
}
