//! A chat completion request under construction, into which requests of other APIs are translated.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::openai::unanswered::Turn;

#[derive(Serialize, Default)]
pub(crate) struct Request<'a> {
    pub model: Cow<'a, str>,
    pub messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_format: Option<ResponseFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verbosity: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safety_identifier: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_cache_key: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
}

#[derive(Serialize, Default)]
pub(crate) struct Message<'a> {
    pub role: &'static str,
    pub content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
pub(crate) struct Part<'a> {
    #[serde(flatten)]
    pub kind: PartKind<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum PartKind<'a> {
    Text { text: Cow<'a, str> },
    ImageUrl { image_url: ImageUrl<'a> },
    File { file: File<'a> },
    InputAudio { input_audio: &'a RawValue },
}

#[derive(Serialize)]
pub(crate) struct ImageUrl<'a> {
    pub url: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
pub(crate) struct File<'a> {
    pub file_data: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filename: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
pub(crate) struct ToolCall<'a> {
    pub id: Cow<'a, str>,
    pub r#type: &'static str,
    pub function: CalledFunction<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_content: Option<Box<RawValue>>,
}

#[derive(Serialize)]
pub(crate) struct CalledFunction<'a> {
    pub name: Cow<'a, str>,
    pub arguments: Cow<'a, str>,
}

#[derive(Serialize)]
pub(crate) struct Tool<'a> {
    pub r#type: &'static str,
    pub function: Function<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<&'a RawValue>,
}

#[derive(Serialize)]
pub(crate) struct Function<'a> {
    pub name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum ToolChoice<'a> {
    Word(&'static str),
    Function {
        r#type: &'static str,
        function: Named<'a>,
    },
}

#[derive(Serialize)]
pub(crate) struct Named<'a> {
    pub name: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ResponseFormat<'a> {
    JsonObject,
    JsonSchema { json_schema: JsonSchema<'a> },
}

#[derive(Serialize)]
pub(crate) struct JsonSchema<'a> {
    pub name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Cow<'a, str>>,
    pub schema: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

impl<'a> ToolChoice<'a> {
    pub fn function(name: Cow<'a, str>) -> Self {
        Self::Function {
            r#type: "function",
            function: Named { name },
        }
    }
}

impl<'a> Message<'a> {
    pub fn new(role: &'static str, content: Content<'a>) -> Self {
        Self {
            role,
            content: Some(content),
            ..Self::default()
        }
    }

    /// Returns the message for a tool's result.
    pub fn result(call: Cow<'a, str>, text: impl Into<Cow<'a, str>>) -> Self {
        Self {
            tool_call_id: Some(call),
            ..Self::new("tool", Content::Text(text.into()))
        }
    }
}

impl Turn for Message<'_> {
    fn role(&self) -> &str {
        self.role
    }

    fn calls(&self) -> Vec<&str> {
        self.tool_calls
            .iter()
            .map(|call| call.id.as_ref())
            .collect()
    }

    fn answered(&self) -> Option<&str> {
        self.tool_call_id.as_deref()
    }

    fn result(call: String, words: &'static str) -> Self {
        Self::result(call.into(), words)
    }
}

impl<'a> Part<'a> {
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        PartKind::Text { text: text.into() }.into()
    }

    pub fn image(url: impl Into<Cow<'a, str>>, detail: Option<Cow<'a, str>>) -> Self {
        let url = url.into();
        PartKind::ImageUrl {
            image_url: ImageUrl { url, detail },
        }
        .into()
    }
}

impl<'a> From<PartKind<'a>> for Part<'a> {
    fn from(kind: PartKind<'a>) -> Self {
        Self {
            kind,
            cache_control: None,
        }
    }
}

/// Builds content from parts: plain text if it is a single text without a cache marker.
pub(crate) fn content_of(parts: Vec<Part<'_>>) -> Content<'_> {
    match <[Part<'_>; 1]>::try_from(parts) {
        Ok(
            [
                Part {
                    kind: PartKind::Text { text },
                    cache_control: None,
                },
            ],
        ) => Content::Text(text),
        Ok([part]) => Content::Parts(vec![part]),
        Err(parts) => Content::Parts(parts),
    }
}

/// Splits a tool's output into the text that its message may contain, and the other parts, which
/// must go into a user message.
pub(crate) fn tool_output(parts: Vec<Part<'_>>) -> (String, Vec<Part<'_>>) {
    let mut text = String::new();
    let mut shown = Vec::new();
    for part in parts {
        match part.kind {
            PartKind::Text { text: more } => text.push_str(&more),
            _ => {
                text.push_str("(See the next message.)");
                shown.push(part);
            }
        }
    }
    (text, shown)
}
