//! The messages of a conversation, typed, for translation into another format. They borrow from the
//! body if possible.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::error::ApiError;
use crate::json;
use crate::lenient;
use crate::openai::unanswered::Turn;

/// A message of any role.
#[derive(Debug, Default, Deserialize)]
pub struct Message<'a> {
    #[serde(borrow)]
    pub role: Cow<'a, str>,
    #[serde(default, borrow)]
    pub content: Option<Content<'a>>,
    #[serde(default, borrow)]
    pub refusal: Option<Cow<'a, str>>,
    /// The model's reasoning before this message.
    #[serde(default, borrow)]
    pub reasoning_content: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pub tool_calls: Option<Vec<ToolCall<'a>>>,
    #[serde(default, borrow)]
    pub tool_call_id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pub function_call: Option<&'a RawValue>,
    /// Anthropic's cache marker: the end of a cached prefix.
    #[serde(default, borrow)]
    pub cache_control: Option<&'a RawValue>,
}

impl Message<'_> {
    /// Returns the message's text parts, concatenated.
    pub fn text(&self) -> String {
        match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone().into_owned(),
            Some(Content::Parts(parts)) => parts
                .iter()
                .filter_map(|part| part.text.as_deref())
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }
}

impl Message<'_> {
    /// Returns the 400 for an unknown role.
    pub fn unknown_role(&self, at: &str) -> ApiError {
        let param = format!("{at}.role");
        let words = format!(
            "`{param}` is \"{}\"; use system, developer, user, assistant or tool",
            self.role
        );
        ApiError::invalid(param, words)
    }

    /// Returns a 400 for a call in the legacy field that `tool_calls` replaced.
    pub fn refuse_function_call(&self, at: &str, model: &str) -> Result<(), ApiError> {
        if self.function_call.is_none_or(|raw| raw.get() == "null") {
            return Ok(());
        }
        let why = "it is deprecated; use `tool_calls`";
        Err(ApiError::unsupported(
            format!("{at}.function_call"),
            model,
            why,
        ))
    }
}

impl<'a> Message<'a> {
    /// Returns the id of the call that a tool's message answers.
    pub fn answered_call(&'a self, at: &str) -> Result<&'a str, ApiError> {
        self.tool_call_id.as_deref().ok_or_else(|| {
            let param = format!("{at}.tool_call_id");
            let words = format!("`{param}` is missing: it names the call that is answered");
            ApiError::invalid(param, words)
        })
    }
}

impl Turn for Message<'_> {
    fn role(&self) -> &str {
        &self.role
    }

    fn calls(&self) -> Vec<&str> {
        let calls = self.tool_calls.iter().flatten();
        calls.map(|call| call.id.as_ref()).collect()
    }

    fn answered(&self) -> Option<&str> {
        self.tool_call_id.as_deref()
    }

    fn result(call: String, words: &'static str) -> Self {
        Self {
            role: "tool".into(),
            content: Some(Content::Text(words.into())),
            tool_call_id: Some(call.into()),
            ..Self::default()
        }
    }
}

/// A message's content: a text, or parts.
#[derive(Debug)]
pub enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
}

/// One part of a message's content; `kind` determines which field is set.
#[derive(Debug, Deserialize)]
pub struct Part<'a> {
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    #[serde(default, borrow)]
    pub text: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pub refusal: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pub image_url: Option<ImageUrl<'a>>,
    #[serde(default, borrow)]
    pub file: Option<File<'a>>,
    #[serde(default, borrow)]
    pub input_audio: Option<InputAudio<'a>>,
    #[serde(default, borrow)]
    pub cache_control: Option<&'a RawValue>,
}

impl Part<'_> {
    /// Returns a member that a part of this kind requires.
    pub fn need<T>(&self, at: &str, field: &str, value: Option<T>) -> Result<T, ApiError> {
        value.ok_or_else(|| {
            let param = format!("{at}.{field}");
            let words = format!("`{param}` is missing");
            ApiError::invalid(param, words)
        })
    }
}

#[derive(Debug, Deserialize)]
pub struct InputAudio<'a> {
    /// Base64.
    #[serde(borrow)]
    pub data: Cow<'a, str>,
    /// `wav` or `mp3`.
    #[serde(borrow)]
    pub format: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
pub struct ImageUrl<'a> {
    #[serde(borrow)]
    pub url: Cow<'a, str>,
    #[serde(default, borrow)]
    pub detail: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
pub struct File<'a> {
    #[serde(default, borrow)]
    pub file_data: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    pub filename: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
pub struct ToolCall<'a> {
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    #[serde(default, borrow)]
    pub function: Option<CalledFunction<'a>>,
    #[serde(default, borrow)]
    pub extra_content: Option<ExtraContent<'a>>,
}

/// Provider data that came with the call.
#[derive(Debug, Deserialize)]
pub struct ExtraContent<'a> {
    #[serde(default, borrow)]
    pub google: Option<GoogleExtra<'a>>,
    #[serde(default, borrow)]
    pub anthropic: Option<AnthropicExtra<'a>>,
}

#[derive(Debug, Deserialize)]
pub struct AnthropicExtra<'a> {
    /// In Anthropic's format.
    #[serde(default, borrow, deserialize_with = "lenient::list")]
    pub thinking_blocks: Vec<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub struct GoogleExtra<'a> {
    #[serde(default, borrow)]
    pub thought_signature: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
pub struct CalledFunction<'a> {
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// JSON in a string. Some clients write null, or the JSON itself.
    #[serde(default, borrow, deserialize_with = "lenient::arguments")]
    arguments: Option<Cow<'a, RawValue>>,
}

impl<'a> ToolCall<'a> {
    /// Returns the called function; it is the only kind of call that the provider `whose` supports.
    pub fn called(
        &self,
        at: &str,
        model: &str,
        whose: &str,
    ) -> Result<&CalledFunction<'a>, ApiError> {
        self.function.as_ref().ok_or_else(|| {
            let why = format!("{whose} only supports function calls");
            ApiError::unsupported(format!("{at}.type"), model, &why)
        })
    }
}

impl File<'_> {
    /// Returns the file's content, as a data URL.
    pub fn data(&self, at: &str, model: &str) -> Result<&str, ApiError> {
        self.file_data.as_deref().ok_or_else(|| {
            let why = "files stored at OpenAI can't be read; send `file_data`";
            ApiError::unsupported(format!("{at}.file"), model, why)
        })
    }
}

impl CalledFunction<'_> {
    /// Returns the arguments as the model wrote them.
    pub fn arguments(&self) -> Cow<'_, str> {
        let text = self.arguments.as_ref().map(|raw| json::text(raw));
        text.and_then(Result::ok).unwrap_or_default()
    }

    /// Returns the arguments as a JSON object. Empty arguments and null become an empty object.
    /// Anything else is wrapped in one: the client can only repeat what a model wrote.
    pub fn arguments_object(&self) -> Box<RawValue> {
        let written = self.arguments();
        let text = match written.trim() {
            "" | "null" => "{}",
            text => text,
        };
        let object = Some(text).filter(|text| text.starts_with('{'));
        object
            .and_then(|text| RawValue::from_string(text.to_owned()).ok())
            .unwrap_or_else(|| json::raw(&serde_json::json!({"arguments": text})))
    }
}

/// Splits `data:image/png;base64,…` into its media type and its data.
pub(crate) fn data_url(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let media_type = head.strip_suffix(";base64")?;
    Some((media_type.split(';').next().unwrap_or(media_type), data))
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor;
        impl<'de> Visitor<'de> for ContentVisitor {
            type Value = Content<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of parts")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Content::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Content::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut parts = Vec::new();
                while let Some(part) = seq.next_element()? {
                    parts.push(part);
                }
                Ok(Content::Parts(parts))
            }
        }
        deserializer.deserialize_any(ContentVisitor)
    }
}
