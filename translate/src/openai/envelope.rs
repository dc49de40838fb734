//! The few fields of a request that determine its route. Everything else stays unparsed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::client::api::{Api, Conversation};
use crate::error::ApiError;
use crate::json;
use crate::openai::message::Message;
use crate::openai::request::ChatRequest;
use crate::openai::subject::Subject;

/// The parts of a request that planning needs. Borrows from the body.
#[derive(Debug)]
pub struct Envelope<'a> {
    pub api: Api,
    /// The whole body.
    pub text: &'a str,
    pub model: Cow<'a, str>,
    /// The model's text in the body, including quotes.
    pub model_raw: &'a RawValue,
    /// The input for the model: `messages`, or `input`.
    pub conversation: &'a RawValue,
    pub stream: bool,
    /// The options as written, which may be null.
    pub stream_options: Option<&'a RawValue>,
    /// Set if the client asked for a usage chunk at the end of the stream.
    pub include_usage: bool,
    pub user: Option<Cow<'a, str>>,
    /// Set if the request has tools that the model may call.
    pub has_tools: bool,
    /// Maximum length of the answer.
    pub max_tokens: Option<u64>,
    /// Set if the request has both of Chat Completions' names for it.
    pub has_two_limits: bool,
    raw_metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    stream: Option<bool>,
    /// Null is kept, because it is replaced in its place.
    #[serde(default, borrow, deserialize_with = "written")]
    stream_options: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<Cow<'a, str>>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    max_output_tokens: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

impl<'a> Fields<'a> {
    fn conversation(&self, facts: &Conversation) -> Result<&'a RawValue, ApiError> {
        let value = match facts.field {
            "input" => self.input,
            _ => self.messages,
        };
        let value = present(value, facts.field, facts.hint)?;
        if facts.is_list {
            check_list(value, facts.field)?;
        }
        Ok(value)
    }
}

impl<'a> Envelope<'a> {
    /// Parses a body. An invalid one gives a 400 that names the field.
    pub fn parse(api: Api, body: &'a [u8]) -> Result<Self, ApiError> {
        let field = api.conversation_field();
        if body.iter().all(u8::is_ascii_whitespace) {
            let words =
                format!("The request has no body; send a JSON object with `model` and `{field}`");
            return Err(ApiError::new(400, words).with_code("invalid_json"));
        }
        if body.trim_ascii_start().starts_with(b"[") {
            // Serde would accept a list as the fields in their order.
            let words =
                format!("The body is a JSON list; send a JSON object with `model` and `{field}`");
            return Err(ApiError::new(400, words).with_code("invalid_json"));
        }
        let text = std::str::from_utf8(body).map_err(|error| {
            let message = format!("The body is not UTF-8 at byte {}", error.valid_up_to());
            ApiError::new(400, message).with_code("invalid_json")
        })?;
        let fields: Fields<'a> = serde_json::from_str(text).map_err(|error| {
            ApiError::new(400, json::describe_error(&error)).with_code("invalid_json")
        })?;
        let model_raw = present(
            fields.model,
            "model",
            "name a model, such as \"gpt-4o-mini\"",
        )?;
        let model: Cow<'a, str> = serde_json::from_str(model_raw.get())
            .map_err(|_| ApiError::invalid("model", "`model` must be a string"))?;
        let conversation = fields.conversation(&api.facts().conversation)?;
        let stream = fields.stream.unwrap_or(false);
        let stream_options = fields
            .stream_options
            .filter(|_| api.facts().has_stream_options);
        let include_usage = match stream_options.filter(|raw| raw.get() != "null") {
            None => false,
            Some(_) if !stream => {
                return Err(ApiError::invalid(
                    "stream_options",
                    "`stream_options` is only allowed with `stream: true`",
                ));
            }
            Some(raw) => serde_json::from_str::<StreamOptions>(raw.get())
                .map_err(|error| {
                    ApiError::invalid("stream_options", format!("`stream_options`: {error}"))
                })?
                .include_usage
                .unwrap_or(false),
        };
        Ok(Self {
            api,
            text,
            model,
            model_raw,
            conversation,
            stream,
            stream_options,
            include_usage,
            user: fields.user.or_else(|| api.user(fields.metadata?)),
            has_tools: fields
                .tools
                .is_some_and(|raw| !matches!(raw.get(), "null" | "[]")),
            max_tokens: fields
                .max_completion_tokens
                .or(fields.max_tokens)
                .or(fields.max_output_tokens)
                .and_then(|raw| raw.get().parse().ok()),
            has_two_limits: fields.max_completion_tokens.is_some() && fields.max_tokens.is_some(),
            raw_metadata: fields.metadata,
        })
    }

    /// Returns the client's own labels for the call. Values other than strings are dropped.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        self.raw_metadata
            .and_then(|raw| {
                serde_json::from_str::<BTreeMap<String, serde_json::Value>>(raw.get()).ok()
            })
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
            .collect()
    }

    /// Returns the text of the last user message; empty without one.
    pub fn last_user_text(&self) -> String {
        self.with_messages(|messages| {
            let last = messages.iter().rev().find(|message| message.role == "user");
            last.map(Message::text).unwrap_or_default()
        })
    }

    /// Returns the input of a routing decision.
    pub fn subject(&self) -> Subject {
        self.with_messages(Subject::of)
    }

    /// A conversation that can't be translated counts as having no messages.
    fn with_messages<T>(&self, look: impl FnOnce(&[Message<'_>]) -> T) -> T {
        let body = self.text.as_bytes();
        let chat = self
            .api
            .to_chat(body, "", false)
            .map(|chat| chat.map(|chat| String::from_utf8(chat).unwrap_or_default()));
        let messages = match &chat {
            Ok(None) => serde_json::from_str::<Vec<Message<'_>>>(self.conversation.get()),
            Ok(Some(chat)) => {
                serde_json::from_str::<ChatRequest<'_>>(chat).map(|chat| chat.messages)
            }
            Err(_) => Ok(Vec::new()),
        };
        look(&messages.unwrap_or_default())
    }
}

/// Returns a member as written, even if it is null.
fn written<'de, D: Deserializer<'de>>(de: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(de).map(Some)
}

fn check_list(messages: &RawValue, field: &str) -> Result<(), ApiError> {
    match messages.get().strip_prefix('[').map(str::trim_start) {
        None => Err(ApiError::invalid(
            field,
            format!("`{field}` must be a list"),
        )),
        Some("]") => Err(ApiError::invalid(
            field,
            format!("`{field}` is empty; send at least one message"),
        )),
        Some(_) => Ok(()),
    }
}

fn present<'a>(
    field: Option<&'a RawValue>,
    name: &str,
    hint: &str,
) -> Result<&'a RawValue, ApiError> {
    field.filter(|raw| raw.get() != "null").ok_or_else(|| {
        ApiError::invalid(name, format!("`{name}` is missing; {hint}"))
            .with_code("missing_required_parameter")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> ApiError {
        Envelope::parse(Api::CHAT_COMPLETIONS, body.as_bytes()).unwrap_err()
    }

    #[test]
    fn only_what_planning_needs_is_read() {
        let body = br#"{"messages":[{"role":"user","content":"hi"}],"x":{"model":"no"},"model":"a\/b","stream":true,
            "stream_options":{"include_usage":true},"metadata":{"team":"search","n":1},"user":"u1"}"#;
        let envelope = Envelope::parse(Api::CHAT_COMPLETIONS, body).unwrap();
        assert_eq!(envelope.model, "a/b");
        assert_eq!(envelope.model_raw.get(), r#""a\/b""#);
        assert!(envelope.stream && envelope.include_usage);
        assert_eq!(
            envelope.metadata(),
            BTreeMap::from([("team".into(), "search".into())])
        );
        assert_eq!(envelope.last_user_text(), "hi");
        assert_eq!(envelope.user.as_deref(), Some("u1"));
    }

    #[test]
    fn a_limit_that_is_null_is_absent() {
        for (limits, max_tokens, has_two_limits) in [
            (
                r#""max_tokens":null,"max_completion_tokens":null"#,
                None,
                false,
            ),
            (
                r#""max_tokens":null,"max_completion_tokens":7"#,
                Some(7),
                false,
            ),
            (
                r#""max_tokens":7,"max_completion_tokens":null"#,
                Some(7),
                false,
            ),
            (r#""max_tokens":9,"max_completion_tokens":7"#, Some(7), true),
        ] {
            let body = format!(r#"{{"model":"a","messages":[{{}}],{limits}}}"#);
            let envelope = Envelope::parse(Api::CHAT_COMPLETIONS, body.as_bytes()).unwrap();
            assert_eq!(envelope.max_tokens, max_tokens, "{limits}");
            assert_eq!(envelope.has_two_limits, has_two_limits, "{limits}");
        }
    }

    #[test]
    fn each_mistake_is_named() {
        let error = refusal("{\"model\":\"a\",\n  \"messages\": [}");
        assert_eq!(
            (error.status, error.code.as_deref()),
            (400, Some("invalid_json"))
        );
        assert!(
            error.message.contains("line 2 column 16"),
            "{}",
            error.message
        );
        for (body, param) in [
            (r#"{"messages":[{}]}"#, "model"),
            (r#"{"model":3,"messages":[{}]}"#, "model"),
            (r#"{"model":"a"}"#, "messages"),
            (r#"{"model":"a","messages":[ ]}"#, "messages"),
            (r#"{"model":"a","messages":"hi"}"#, "messages"),
            (
                r#"{"model":"a","messages":[1],"stream_options":{}}"#,
                "stream_options",
            ),
        ] {
            assert_eq!(refusal(body).param.as_deref(), Some(param), "{body}");
        }
        assert!(
            refusal(r#"{"model":"a","model":"b","messages":[1]}"#)
                .message
                .contains("duplicate")
        );
        assert!(refusal(" ").message.contains("no body"));
        assert_eq!(refusal("[]").status, 400);
    }
}
