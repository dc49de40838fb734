//! Translates an answer of Cohere's chat API into a chat completion.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cohere::logprobs::Item;
use crate::cohere::usage::WireUsage;
use crate::cost::Usage;
use crate::error::ApiError;
use crate::exchange::Origin;
use crate::json;
use crate::openai::completion::{Choice, Completion, Function, Message, ToolCall, join};
use crate::openai::logprobs::{Logprobs, TokenLogprob};

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default, borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    finish_reason: Cow<'a, str>,
    #[serde(borrow)]
    message: OwnMessage<'a>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default)]
    logprobs: Option<Vec<Item>>,
}

#[derive(Deserialize)]
struct OwnMessage<'a> {
    #[serde(default, borrow)]
    content: Option<Vec<Part<'a>>>,
    #[serde(default, borrow)]
    tool_plan: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    tool_calls: Option<Vec<OwnToolCall<'a>>>,
    #[serde(default, borrow)]
    citations: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    thinking: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct OwnToolCall<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    function: OwnFunction<'a>,
}

#[derive(Deserialize)]
struct OwnFunction<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default, borrow)]
    arguments: Cow<'a, str>,
}

/// Maps Cohere's finish reason to OpenAI's; returns an error if it is a failure.
pub(super) fn finish_reason(reason: &str, details: Option<&str>) -> Result<&'static str, ApiError> {
    let failed = |status, code: &'static str, words: &str| {
        let message = details.filter(|text| !text.is_empty()).unwrap_or(words);
        Err(ApiError::new(status, message).with_code(code))
    };
    match reason {
        "MAX_TOKENS" => Ok("length"),
        "TOOL_CALL" => Ok("tool_calls"),
        "ERROR" => failed(502, "model_error", "The model failed"),
        "ERROR_TOXIC" => Ok("content_filter"),
        "TIMEOUT" => failed(504, "upstream_timeout", "The model did not finish in time"),
        _ => Ok("stop"),
    }
}

/// Translates a body.
pub fn translate_response(body: &[u8], origin: &Origin<'_>) -> Result<Vec<u8>, ApiError> {
    let answer: Answer<'_> = json::from_bytes(body).map_err(ApiError::unreadable)?;
    let parts = answer.message.content.as_deref().unwrap_or_default();
    let own_id = origin.completion_id();
    let texts = parts.iter().filter_map(|part| part.text.as_deref());
    let completion = Completion {
        id: answer.id.as_deref().unwrap_or(&own_id),
        object: "chat.completion",
        created: origin.created,
        model: origin.model,
        choices: vec![Choice {
            index: 0,
            message: Message {
                role: "assistant",
                content: join(answer.message.tool_plan.as_deref().into_iter().chain(texts)),
                reasoning_content: join(parts.iter().filter_map(|part| part.thinking.as_deref())),
                tool_calls: answer
                    .message
                    .tool_calls
                    .iter()
                    .flatten()
                    .map(|call| ToolCall {
                        id: call.id.as_ref().into(),
                        r#type: "function",
                        function: Function {
                            name: &call.function.name,
                            arguments: match call.function.arguments.as_ref() {
                                "" => "{}",
                                arguments => arguments,
                            },
                        },
                        extra_content: None,
                    })
                    .collect(),
                citations: answer.message.citations.unwrap_or_default(),
                ..Message::default()
            },
            logprobs: answer.logprobs.map(|items| {
                let tokens = items.into_iter().map(TokenLogprob::from);
                json::raw(&tokens.collect::<Logprobs>())
            }),
            finish_reason: finish_reason(&answer.finish_reason, None)?,
        }],
        usage: Usage::from(answer.usage.unwrap_or_default()).into(),
    };
    let mut out = Vec::with_capacity(body.len() + 256);
    json::write(&mut out, &completion);
    Ok(out)
}
