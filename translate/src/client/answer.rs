//! Chat completions and chunks, typed, for translation into another API.
//!
//! Providers of OpenAI's format deviate from its types, so a member is read leniently unless the
//! answer depends on it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::ApiError;
use crate::json;
use crate::lenient;
use crate::openai::ids;
use crate::openai::usage::WireUsage;

#[derive(Deserialize)]
pub(crate) struct Completion<'a> {
    #[serde(default, borrow, deserialize_with = "lenient::text")]
    pub id: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "lenient::count")]
    pub created: Option<u64>,
    #[serde(default, borrow, deserialize_with = "lenient::text")]
    pub model: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pub choices: Vec<Choice<'a>>,
    #[serde(default, deserialize_with = "lenient::readable")]
    pub usage: Option<WireUsage>,
}

#[derive(Deserialize)]
pub(crate) struct Choice<'a> {
    #[serde(borrow)]
    pub message: Message<'a>,
    #[serde(default, borrow, deserialize_with = "lenient::word")]
    pub finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
pub(crate) struct Message<'a> {
    #[serde(default, borrow, deserialize_with = "lenient::content")]
    pub content: Option<Cow<'a, str>>,
    #[serde(default, borrow, deserialize_with = "lenient::content")]
    pub refusal: Option<Cow<'a, str>>,
    #[serde(default, borrow, deserialize_with = "lenient::content")]
    reasoning_content: Option<Cow<'a, str>>,
    /// The name of `reasoning_content` at OpenRouter, Groq and vLLM. Some servers send both.
    #[serde(default, borrow, deserialize_with = "lenient::content")]
    reasoning: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pub tool_calls: Option<Vec<ToolCall<'a>>>,
}

#[derive(Deserialize)]
pub(crate) struct ToolCall<'a> {
    #[serde(default, borrow, deserialize_with = "lenient::word")]
    pub id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub function: Function<'a>,
    #[serde(default, borrow)]
    pub extra_content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(crate) struct Function<'a> {
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    #[serde(default, borrow, deserialize_with = "lenient::arguments")]
    arguments: Option<Cow<'a, RawValue>>,
}

impl<'a> Completion<'a> {
    pub fn parse(body: &'a [u8]) -> Result<Self, ApiError> {
        json::from_bytes(body).map_err(ApiError::unreadable)
    }

    /// Returns a text that differs for each answer, from which ids are derived.
    pub fn seed(&self) -> String {
        seed(self.id.as_deref(), self.created)
    }

    /// Returns the answer's choice; only one was requested.
    pub fn choice(&self) -> Result<&Choice<'a>, ApiError> {
        self.choices.first().ok_or_else(|| {
            ApiError::new(502, "The provider's answer has no choices")
                .with_code("invalid_upstream_response")
        })
    }
}

impl ToolCall<'_> {
    /// Returns the id, or one that is derived from the answer's if the provider sends none.
    pub fn id_in(&self, answer: &str, number: usize) -> Cow<'_, str> {
        match &self.id {
            Some(id) => Cow::Borrowed(id),
            None => ids::derived(answer, number, &self.function.name).into(),
        }
    }
}

impl Message<'_> {
    /// Returns the model's reasoning, unless it is empty.
    pub fn thoughts(&self) -> Option<&str> {
        let names = [&self.reasoning_content, &self.reasoning];
        let mut texts = names.into_iter().flatten();
        texts.find(|text| !text.is_empty()).map(Cow::as_ref)
    }
}

impl Function<'_> {
    /// Returns the arguments; empty without any.
    pub fn arguments(&self) -> Cow<'_, str> {
        let text = self.arguments.as_ref().map(|raw| json::text(raw));
        text.and_then(Result::ok).unwrap_or_default()
    }
}

#[derive(Deserialize)]
pub(crate) struct Chunk<'a> {
    #[serde(default, borrow, deserialize_with = "lenient::text")]
    pub id: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "lenient::count")]
    pub created: Option<u64>,
    #[serde(default, borrow, deserialize_with = "lenient::text")]
    pub model: Option<Cow<'a, str>>,
    #[serde(default, borrow, deserialize_with = "lenient::list")]
    pub choices: Vec<ChunkChoice<'a>>,
    #[serde(default, deserialize_with = "lenient::readable")]
    pub usage: Option<WireUsage>,
    #[serde(default, borrow)]
    pub error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(crate) struct ChunkChoice<'a> {
    #[serde(default, deserialize_with = "lenient::count_or_zero")]
    pub index: u64,
    #[serde(default, borrow)]
    pub delta: Option<Delta<'a>>,
    #[serde(default, borrow, deserialize_with = "lenient::word")]
    pub finish_reason: Option<Cow<'a, str>>,
}

/// Texts are copied unparsed: a JSON string is the same in every API.
#[derive(Deserialize)]
pub(crate) struct Delta<'a> {
    #[serde(default, borrow, deserialize_with = "lenient::piece")]
    pub content: Option<Cow<'a, RawValue>>,
    #[serde(default, borrow, deserialize_with = "lenient::piece")]
    pub refusal: Option<Cow<'a, RawValue>>,
    #[serde(default, borrow, deserialize_with = "lenient::piece")]
    reasoning_content: Option<Cow<'a, RawValue>>,
    /// As in [`Message`].
    #[serde(default, borrow, deserialize_with = "lenient::piece")]
    reasoning: Option<Cow<'a, RawValue>>,
    #[serde(default, borrow)]
    pub tool_calls: Option<Vec<ToolCallDelta<'a>>>,
}

impl Delta<'_> {
    /// Returns a piece of the model's reasoning.
    pub fn thoughts(&self) -> Option<&RawValue> {
        said(&self.reasoning_content).or_else(|| said(&self.reasoning))
    }
}

#[derive(Deserialize)]
pub(crate) struct ToolCallDelta<'a> {
    #[serde(default, deserialize_with = "lenient::count")]
    pub index: Option<u64>,
    #[serde(default, borrow, deserialize_with = "lenient::word")]
    pub id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    function: Option<FunctionDelta<'a>>,
    #[serde(default, borrow)]
    pub extra_content: Option<&'a RawValue>,
}

impl ToolCallDelta<'_> {
    /// Returns the function's name, unless it is empty.
    pub fn name(&self) -> Option<&str> {
        self.function.as_ref()?.name.as_deref()
    }

    /// Returns a piece of the arguments, unless it is empty.
    pub fn arguments(&self) -> Option<&RawValue> {
        said(&self.function.as_ref()?.arguments)
    }
}

#[derive(Deserialize)]
pub(crate) struct FunctionDelta<'a> {
    #[serde(default, borrow, deserialize_with = "lenient::word")]
    name: Option<Cow<'a, str>>,
    #[serde(default, borrow, deserialize_with = "lenient::arguments")]
    arguments: Option<Cow<'a, RawValue>>,
}

impl Chunk<'_> {
    /// Returns a text that differs for each answer, from which ids are derived.
    pub fn seed(&self) -> String {
        seed(self.id.as_deref(), self.created)
    }
}

fn seed(id: Option<&str>, created: Option<u64>) -> String {
    match id.filter(|id| !id.is_empty()) {
        Some(id) => id.to_owned(),
        None => created.unwrap_or_default().to_string(),
    }
}

/// Returns a text unless it is missing, null or empty.
pub(crate) fn said<'t>(text: &'t Option<Cow<'_, RawValue>>) -> Option<&'t RawValue> {
    text.as_deref().filter(|text| text.get() != "\"\"")
}
