//! Translates a `generateContent` answer into a chat completion.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cost::Usage;
use crate::error::ApiError;
use crate::exchange::Origin;
use crate::gemini::error::ErrorBody;
use crate::gemini::logprobs::LogprobsResult;
use crate::gemini::usage::UsageMetadata;
use crate::json;
use crate::openai::completion::{
    Choice, Completion, ExtraContent, Function, GoogleExtra, Message, ToolCall, join,
};
use crate::openai::ids;
use crate::openai::logprobs::Logprobs;

/// A whole answer, or one event of a stream: both have the same shape.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer<'a> {
    #[serde(default, borrow)]
    pub response_id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pub model_version: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pub candidates: Vec<Candidate<'a>>,
    #[serde(default, borrow)]
    pub prompt_feedback: Option<PromptFeedback<'a>>,
    #[serde(default)]
    pub usage_metadata: Option<UsageMetadata>,
    #[serde(default)]
    pub error: Option<ErrorBody>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate<'a> {
    #[serde(default)]
    pub index: u32,
    #[serde(default, borrow)]
    pub content: Option<Content<'a>>,
    #[serde(default, borrow)]
    pub finish_reason: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pub finish_message: Option<Cow<'a, str>>,
    #[serde(default)]
    pub logprobs_result: Option<LogprobsResult>,
}

#[derive(Deserialize)]
pub(super) struct Content<'a> {
    #[serde(default, borrow)]
    pub parts: Vec<Part<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(default, borrow)]
    pub text: Option<Cow<'a, str>>,
    #[serde(default)]
    pub thought: bool,
    #[serde(default, borrow)]
    pub function_call: Option<FunctionCall<'a>>,
    #[serde(default, borrow)]
    pub thought_signature: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
pub(super) struct FunctionCall<'a> {
    #[serde(default, borrow)]
    pub id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    #[serde(default, borrow)]
    pub args: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PromptFeedback<'a> {
    #[serde(default, borrow)]
    pub block_reason: Option<Cow<'a, str>>,
}

impl Answer<'_> {
    /// Returns the answer's id, from which its calls' ids are derived.
    pub fn id(&self) -> Option<&str> {
        self.response_id.as_deref().filter(|id| !id.is_empty())
    }
}

/// Maps Gemini's finish reason to OpenAI's; `None` if it is a failure of the model.
pub(super) fn finish_reason(reason: &str, calls_tools: bool) -> Option<&'static str> {
    Some(match reason {
        "STOP" if calls_tools => "tool_calls",
        "STOP" | "FINISH_REASON_UNSPECIFIED" | "OTHER" | "CONTINUATION" => "stop",
        "MAX_TOKENS" => "length",
        "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "LANGUAGE"
        | "MODEL_ARMOR" => "content_filter",
        reason if reason.starts_with("IMAGE_") => "content_filter",
        _ => return None,
    })
}

/// Returns the error for a finish reason that is a failure.
pub(super) fn failure(reason: &str, message: Option<&str>) -> ApiError {
    let words = message.unwrap_or("the model's answer could not be read");
    ApiError::new(502, format!("{reason}: {words}")).with_code(reason.to_ascii_lowercase())
}

/// Returns a call's id. Gemini often sends none; such a call gets an id that is unique within the
/// answer.
pub(super) fn call_id<'a>(call: &FunctionCall<'a>, answer: &str, number: usize) -> Cow<'a, str> {
    match &call.id {
        Some(id) if !id.is_empty() => id.clone(),
        _ => Cow::Owned(ids::derived(answer, number, &call.name)),
    }
}

/// Translates a body.
pub fn translate_response(body: &[u8], origin: &Origin<'_>) -> Result<Vec<u8>, ApiError> {
    let mut answer: Answer<'_> = json::from_bytes(body).map_err(ApiError::unreadable)?;
    let model = answer
        .model_version
        .clone()
        .unwrap_or(Cow::Borrowed(origin.model));
    let id = match answer.id() {
        Some(id) => id.to_owned(),
        None => origin.completion_id(),
    };
    let id = id.as_str();
    let feedback = answer.prompt_feedback.take();
    let block_reason = feedback
        .as_ref()
        .and_then(|feedback| feedback.block_reason.as_deref());
    if answer.candidates.is_empty() && block_reason.is_none() {
        return Err(
            ApiError::new(502, "The provider's answer has no candidates")
                .with_code("invalid_upstream_response"),
        );
    }
    let mut choices = answer
        .candidates
        .iter_mut()
        .map(|candidate| choice(candidate, id))
        .collect::<Result<Vec<_>, _>>()?;
    if let (true, Some(reason)) = (choices.is_empty(), block_reason) {
        choices.push(Choice {
            index: 0,
            message: Message {
                role: "assistant",
                refusal: Some(reason),
                ..Message::default()
            },
            logprobs: None,
            finish_reason: "content_filter",
        });
    }
    let completion = Completion {
        id,
        object: "chat.completion",
        created: origin.created,
        model: &model,
        choices,
        usage: Usage::from(answer.usage_metadata.unwrap_or_default()).into(),
    };
    let mut out = Vec::with_capacity(body.len() + 256);
    json::write(&mut out, &completion);
    Ok(out)
}

fn choice<'a>(candidate: &'a mut Candidate<'_>, answer: &str) -> Result<Choice<'a>, ApiError> {
    let logprobs = candidate
        .logprobs_result
        .take()
        .map(|result| json::raw(&Logprobs::from(result)));
    let parts = candidate
        .content
        .as_ref()
        .map_or(&[][..], |content| content.parts.as_slice());
    let text = |thought: bool| {
        parts
            .iter()
            .filter(move |part| part.thought == thought)
            .filter_map(|part| part.text.as_deref())
    };
    let tool_calls: Vec<ToolCall<'_>> = parts
        .iter()
        .filter_map(|part| Some((part, part.function_call.as_ref()?)))
        .enumerate()
        .map(|(number, (part, call))| ToolCall {
            id: call_id(call, answer, number),
            r#type: "function",
            function: Function {
                name: &call.name,
                arguments: call.args.map_or("{}", RawValue::get),
            },
            extra_content: part
                .thought_signature
                .as_deref()
                .map(|thought_signature| ExtraContent::Google(GoogleExtra { thought_signature })),
        })
        .collect();
    let reason = candidate.finish_reason.as_deref().unwrap_or("STOP");
    let finish_reason = finish_reason(reason, !tool_calls.is_empty())
        .ok_or_else(|| failure(reason, candidate.finish_message.as_deref()))?;
    Ok(Choice {
        index: candidate.index,
        message: Message {
            role: "assistant",
            content: join(text(false)),
            refusal: None,
            reasoning_content: join(text(true)),
            tool_calls,
            ..Message::default()
        },
        logprobs,
        finish_reason,
    })
}
