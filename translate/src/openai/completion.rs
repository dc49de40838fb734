//! A chat completion under construction, which translators of other formats fill in.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::openai::usage::WireUsage;

#[derive(Serialize)]
pub(crate) struct Completion<'a> {
    pub id: &'a str,
    pub object: &'static str,
    /// Unix seconds.
    pub created: u64,
    pub model: &'a str,
    pub choices: Vec<Choice<'a>>,
    pub usage: WireUsage,
}

#[derive(Serialize)]
pub(crate) struct Choice<'a> {
    pub index: u32,
    pub message: Message<'a>,
    pub logprobs: Option<Box<RawValue>>,
    pub finish_reason: &'static str,
}

#[derive(Serialize, Default)]
pub(crate) struct Message<'a> {
    pub role: &'static str,
    pub content: Option<String>,
    pub refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall<'a>>,
    /// Sources of the text, in the provider's format.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub citations: Vec<&'a RawValue>,
}

/// Concatenates texts; `None` if the iterator is empty.
pub(crate) fn join<'t>(texts: impl Iterator<Item = &'t str>) -> Option<String> {
    texts.fold(None, |joined: Option<String>, text| {
        Some(joined.unwrap_or_default() + text)
    })
}

#[derive(Serialize)]
pub(crate) struct ToolCall<'a> {
    pub id: std::borrow::Cow<'a, str>,
    pub r#type: &'static str,
    pub function: Function<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_content: Option<ExtraContent<'a>>,
}

#[derive(Serialize)]
pub(crate) struct Function<'a> {
    pub name: &'a str,
    pub arguments: &'a str,
}

/// Data that a provider needs back with a tool call, by provider. The name `extra_content` is
/// Google's own, from its OpenAI-compatible API.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ExtraContent<'a> {
    Google(GoogleExtra<'a>),
    Anthropic(AnthropicExtra<'a>),
}

/// The reasoning that led to the call, with its signatures.
#[derive(Serialize)]
pub(crate) struct AnthropicExtra<'a> {
    pub thinking_blocks: Vec<&'a RawValue>,
}

#[derive(Serialize)]
pub(crate) struct GoogleExtra<'a> {
    pub thought_signature: &'a str,
}
