//! A whole request, typed, for translation into another format. Borrows from the body if possible.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::body;
use crate::error::ApiError;
use crate::json;
use crate::openai::message::Message;
use crate::openai::unanswered;

/// The body of `POST /v1/chat/completions`.
#[derive(Debug, Deserialize)]
pub struct ChatRequest<'a> {
    #[serde(borrow)]
    pub messages: Vec<Message<'a>>,
    #[serde(default)]
    pub max_tokens: Option<u64>,
    #[serde(default)]
    pub max_completion_tokens: Option<u64>,
    #[serde(default)]
    pub temperature: Option<f64>,
    #[serde(default)]
    pub top_p: Option<f64>,
    #[serde(default, borrow)]
    pub stop: Option<Strings<'a>>,
    #[serde(default)]
    pub stream: Option<bool>,
    #[serde(default, borrow)]
    pub tools: Option<Vec<Tool<'a>>>,
    #[serde(default, borrow)]
    pub tool_choice: Option<&'a RawValue>,
    #[serde(default)]
    pub parallel_tool_calls: Option<bool>,
    #[serde(default, borrow)]
    pub functions: Option<&'a RawValue>,
    #[serde(default, borrow)]
    pub response_format: Option<ResponseFormat<'a>>,
    #[serde(default, borrow)]
    pub reasoning_effort: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pub user: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pub safety_identifier: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pub service_tier: Option<Cow<'a, str>>,
    #[serde(default)]
    pub n: Option<u64>,
    #[serde(default)]
    pub seed: Option<i64>,
    #[serde(default)]
    pub logprobs: Option<bool>,
    #[serde(default)]
    pub top_logprobs: Option<u64>,
    #[serde(default, borrow)]
    pub logit_bias: Option<&'a RawValue>,
    #[serde(default)]
    pub presence_penalty: Option<f64>,
    #[serde(default)]
    pub frequency_penalty: Option<f64>,
    #[serde(default, borrow)]
    pub modalities: Option<Vec<Cow<'a, str>>>,
    #[serde(default, borrow)]
    pub audio: Option<&'a RawValue>,
    /// Anthropic's option to place the cache markers itself.
    #[serde(default, borrow)]
    pub cache_control: Option<&'a RawValue>,
    #[serde(default, borrow)]
    pub verbosity: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pub web_search_options: Option<&'a RawValue>,
}

impl<'a> ChatRequest<'a> {
    /// Parses a body.
    pub fn parse(body: &'a [u8]) -> Result<Self, ApiError> {
        let mut request: Self = body::parse(body)?;
        unanswered::answer_all(&mut request.messages);
        Ok(request)
    }

    /// Returns the parsed `tool_choice`.
    pub fn choice(&self) -> Result<Option<ToolChoice<'a>>, ApiError> {
        self.tool_choice
            .filter(|raw| raw.get() != "null")
            .map(ToolChoice::parse)
            .transpose()
    }
}

impl ChatRequest<'_> {
    /// Returns true if the client asked for output other than text.
    pub fn wants_more_than_text(&self) -> bool {
        let is_other = |modality: &Cow<'_, str>| modality != "text";
        is_set(self.audio) || self.modalities.iter().flatten().any(is_other)
    }

    /// Returns true if the model has tools and may call only one at a time.
    pub fn calls_one_tool_at_a_time(&self) -> bool {
        self.parallel_tool_calls == Some(false)
            && self.tools.as_ref().is_some_and(|tools| !tools.is_empty())
    }

    /// Returns true if the client asked for a verbosity other than the default.
    pub fn wants_another_length(&self) -> bool {
        self.verbosity
            .as_deref()
            .is_some_and(|verbosity| verbosity != "medium")
    }
}

/// Returns a schema that accepts any object, for providers that require one.
pub(crate) fn any_object() -> Box<RawValue> {
    json::raw(&serde_json::json!({"type": "object", "properties": {}}))
}

/// Returns true if a field is present and neither `null` nor empty.
pub fn is_set(raw: Option<&RawValue>) -> bool {
    raw.is_some_and(|raw| !matches!(raw.get(), "null" | "{}" | "[]"))
}

/// Returns a 400 for the first of these that is set. Each is whether it is set, its field, and the
/// reason why it isn't supported.
pub fn refuse<'r>(
    model: &str,
    refusals: impl IntoIterator<Item = (bool, &'r str, &'r str)>,
) -> Result<(), ApiError> {
    match refusals
        .into_iter()
        .find(|(is_asked_for, ..)| *is_asked_for)
    {
        Some((_, param, why)) => Err(ApiError::unsupported(param, model, why)),
        None => Ok(()),
    }
}

/// Returns the 400 for an unknown response format.
pub fn unknown_format(kind: &str, model: &str) -> ApiError {
    let why = format!("`{kind}` is not known; use text, json_object or json_schema");
    ApiError::unsupported("response_format.type", model, &why)
}

/// Returns the 400 for an unknown reasoning effort.
pub fn unknown_effort() -> ApiError {
    ApiError::invalid(
        "reasoning_effort",
        "`reasoning_effort` must be none, minimal, low, medium, high, xhigh or max",
    )
}

#[derive(Debug, Deserialize)]
pub struct Tool<'a> {
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    #[serde(default, borrow)]
    pub function: Option<Function<'a>>,
    #[serde(default, borrow)]
    pub cache_control: Option<&'a RawValue>,
}

impl<'a> Tool<'a> {
    /// Returns the tool's function; it is the only kind of tool that the provider `whose` supports.
    pub fn as_function(
        &self,
        at: &str,
        model: &str,
        whose: &str,
    ) -> Result<&Function<'a>, ApiError> {
        self.function
            .as_ref()
            .filter(|_| self.kind == "function")
            .ok_or_else(|| {
                ApiError::unsupported(
                    format!("{at}.type"),
                    model,
                    &format!("{whose} takes functions only"),
                )
            })
    }
}

impl<'a> Function<'a> {
    /// Returns the schema of its parameters, if given.
    pub fn schema(&self) -> Option<&'a RawValue> {
        self.parameters.filter(|raw| raw.get() != "null")
    }
}

#[derive(Debug, Deserialize)]
pub struct Function<'a> {
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    #[serde(default, borrow)]
    pub description: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pub parameters: Option<&'a RawValue>,
    #[serde(default)]
    pub strict: Option<bool>,
}

#[derive(Debug, Deserialize)]
pub struct ResponseFormat<'a> {
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    #[serde(default, borrow)]
    pub json_schema: Option<JsonSchema<'a>>,
}

impl<'a> ResponseFormat<'a> {
    /// Returns the schema of a `json_schema` format.
    pub fn definition(&self) -> Result<&JsonSchema<'a>, ApiError> {
        let param = "response_format.json_schema";
        self.json_schema
            .as_ref()
            .ok_or_else(|| ApiError::invalid(param, format!("`{param}` is missing")))
    }
}

#[derive(Debug, Deserialize)]
pub struct JsonSchema<'a> {
    #[serde(default, borrow)]
    pub schema: Option<&'a RawValue>,
    #[serde(default, borrow)]
    pub name: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pub description: Option<Cow<'a, str>>,
}

impl<'a> JsonSchema<'a> {
    pub fn schema(&self) -> Result<&'a RawValue, ApiError> {
        let param = "response_format.json_schema.schema";
        self.schema
            .ok_or_else(|| ApiError::invalid(param, format!("`{param}` is missing")))
    }
}

/// One string or a list of them.
#[derive(Debug)]
pub struct Strings<'a>(pub Vec<Cow<'a, str>>);

/// Constraint on the model's tool calls.
#[derive(Debug, PartialEq, Eq)]
pub enum ToolChoice<'a> {
    Auto,
    None,
    Required,
    Function(Cow<'a, str>),
}

impl<'a> ToolChoice<'a> {
    /// Parses `tool_choice`.
    pub fn parse(raw: &'a RawValue) -> Result<Self, ApiError> {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow)]
            function: Name<'a>,
        }
        #[derive(Deserialize)]
        struct Name<'a> {
            #[serde(borrow)]
            name: Cow<'a, str>,
        }
        match raw.get() {
            "\"auto\"" => Ok(Self::Auto),
            "\"none\"" => Ok(Self::None),
            "\"required\"" => Ok(Self::Required),
            text => serde_json::from_str::<Named<'a>>(text)
                .map(|named| Self::Function(named.function.name))
                .map_err(|_| {
                    ApiError::invalid(
                        "tool_choice",
                        "`tool_choice` must be \"auto\", \"none\", \"required\" or {\"type\": \"function\", \"function\": {\"name\": …}}",
                    )
                }),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Strings<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StringsVisitor;
        impl<'de> Visitor<'de> for StringsVisitor {
            type Value = Strings<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Strings(vec![Cow::Owned(text.to_owned())]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = seq.next_element::<String>()? {
                    texts.push(Cow::Owned(text));
                }
                Ok(Strings(texts))
            }
        }
        deserializer.deserialize_any(StringsVisitor)
    }
}
