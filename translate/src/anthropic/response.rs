//! Translates a message into a chat completion.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::anthropic::usage::WireUsage;
use crate::cost::Usage;
use crate::error::ApiError;
use crate::exchange::Origin;
use crate::json;
use crate::openai::completion::{
    AnthropicExtra, Choice, Completion, ExtraContent, Function, Message, ToolCall, join,
};

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    content: Vec<&'a RawValue>,
    #[serde(default, borrow)]
    stop_reason: Option<Cow<'a, str>>,
    #[serde(default)]
    stop_details: Option<StopDetails>,
    usage: WireUsage,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    thinking: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    input: Option<&'a RawValue>,
    #[serde(default, borrow)]
    citations: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
pub(super) struct StopDetails {
    #[serde(default)]
    pub explanation: Option<String>,
}

/// Maps Anthropic's stop reason to OpenAI's finish reason.
pub(super) fn finish_reason(stop_reason: Option<&str>) -> &'static str {
    match stop_reason {
        Some("max_tokens" | "model_context_window_exceeded") => "length",
        Some("tool_use") => "tool_calls",
        Some("refusal") => "content_filter",
        _ => "stop",
    }
}

/// Translates a body.
pub fn translate_response(body: &[u8], origin: &Origin<'_>) -> Result<Vec<u8>, ApiError> {
    let mut answer: Answer<'_> = json::from_bytes(body).map_err(ApiError::unreadable)?;
    let raw_blocks = std::mem::take(&mut answer.content);
    let content = raw_blocks
        .iter()
        .map(|raw| serde_json::from_str(raw.get()))
        .collect::<Result<Vec<Block<'_>>, _>>()
        .map_err(ApiError::unreadable)?;
    let thinking_blocks: Vec<&RawValue> = raw_blocks
        .iter()
        .zip(&content)
        .filter(|(_, block)| matches!(block.kind.as_ref(), "thinking" | "redacted_thinking"))
        .map(|(raw, _)| *raw)
        .collect();
    let mut tool_calls: Vec<ToolCall<'_>> = content
        .iter()
        .filter(|block| block.kind == "tool_use")
        .map(|block| ToolCall {
            id: block.id.as_deref().unwrap_or_default().into(),
            r#type: "function",
            function: Function {
                name: block.name.as_deref().unwrap_or_default(),
                arguments: block.input.map_or("{}", RawValue::get),
            },
            extra_content: None,
        })
        .collect();
    if let Some(first) = tool_calls.first_mut()
        && !thinking_blocks.is_empty()
    {
        first.extra_content = Some(ExtraContent::Anthropic(AnthropicExtra { thinking_blocks }));
    }
    let stop_reason = answer.stop_reason.as_deref();
    let completion = Completion {
        id: &answer.id,
        object: "chat.completion",
        created: origin.created,
        model: &answer.model,
        choices: vec![Choice {
            index: 0,
            message: Message {
                role: "assistant",
                content: join(content.iter().filter_map(|block| block.text.as_deref())),
                refusal: answer
                    .stop_details
                    .as_ref()
                    .filter(|_| stop_reason == Some("refusal"))
                    .and_then(|details| details.explanation.as_deref()),
                reasoning_content: join(
                    content.iter().filter_map(|block| block.thinking.as_deref()),
                ),
                tool_calls,
                citations: content
                    .iter()
                    .flat_map(|block| block.citations.iter().flatten().copied())
                    .collect(),
            },
            logprobs: None,
            finish_reason: finish_reason(stop_reason),
        }],
        usage: Usage::from(answer.usage).into(),
    };
    let mut out = Vec::with_capacity(body.len() + 256);
    json::write(&mut out, &completion);
    Ok(out)
}
