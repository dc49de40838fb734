//! Translates a conversation: OpenAI's messages, without the members that Cohere would reject as
//! unknown.

use std::borrow::Cow;

use serde::Serialize;

use crate::error::ApiError;
use crate::openai::message::{Content as OpenAiContent, Message as OpenAiMessage, Part};

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub(super) enum Message<'a> {
    System {
        content: Content<'a>,
    },
    User {
        content: Content<'a>,
    },
    Assistant {
        #[serde(skip_serializing_if = "Option::is_none")]
        content: Option<Content<'a>>,
        /// The model's text before it calls tools.
        #[serde(skip_serializing_if = "Option::is_none")]
        tool_plan: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall<'a>>,
    },
    Tool {
        tool_call_id: &'a str,
        content: Content<'a>,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<ContentPart<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ContentPart<'a> {
    Text { text: &'a str },
    Thinking { thinking: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Serialize)]
pub(super) struct ImageUrl<'a> {
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct ToolCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: String,
}

pub(super) fn translate_messages<'a>(
    messages: &'a [OpenAiMessage<'a>],
    model: &str,
) -> Result<Vec<Message<'a>>, ApiError> {
    messages
        .iter()
        .enumerate()
        .map(|(index, each)| message(each, &format!("messages[{index}]"), model))
        .collect()
}

fn message<'a>(
    message: &'a OpenAiMessage<'a>,
    at: &str,
    model: &str,
) -> Result<Message<'a>, ApiError> {
    Ok(match message.role.as_ref() {
        "system" | "developer" => Message::System {
            content: content(message, at, model, false)?,
        },
        "user" => Message::User {
            content: content(message, at, model, true)?,
        },
        "tool" => Message::Tool {
            tool_call_id: message.answered_call(at)?,
            content: content(message, at, model, false)?,
        },
        "assistant" => assistant(message, at, model)?,
        _ => return Err(message.unknown_role(at)),
    })
}

fn assistant<'a>(
    message: &'a OpenAiMessage<'a>,
    at: &str,
    model: &str,
) -> Result<Message<'a>, ApiError> {
    message.refuse_function_call(at, model)?;
    let mut tool_calls = Vec::new();
    for (index, call) in message.tool_calls.iter().flatten().enumerate() {
        let at = format!("{at}.tool_calls[{index}]");
        let function = call.called(&at, model, "Cohere")?;
        tool_calls.push(ToolCall {
            id: &call.id,
            r#type: "function",
            function: Function {
                name: &function.name,
                arguments: function.arguments_object().get().to_owned(),
            },
        });
    }
    let text = message.text();
    let said = [
        text.as_str(),
        message.refusal.as_deref().unwrap_or_default(),
    ]
    .concat();
    let said = Some(said).filter(|text| !text.is_empty());
    let thinking = message
        .reasoning_content
        .as_deref()
        .filter(|text| !text.is_empty())
        .map(|thinking| ContentPart::Thinking { thinking });
    if !tool_calls.is_empty() {
        return Ok(Message::Assistant {
            content: thinking.map(|thinking| Content::Parts(vec![thinking])),
            tool_plan: said,
            tool_calls,
        });
    }
    Ok(Message::Assistant {
        content: Some(Content::Text(said.unwrap_or_default().into())),
        tool_plan: None,
        tool_calls,
    })
}

fn content<'a>(
    message: &'a OpenAiMessage<'a>,
    at: &str,
    model: &str,
    takes_images: bool,
) -> Result<Content<'a>, ApiError> {
    let parts = match &message.content {
        None => return Ok(Content::Text("".into())),
        Some(OpenAiContent::Text(text)) => return Ok(Content::Text(text.as_ref().into())),
        Some(OpenAiContent::Parts(parts)) => parts,
    };
    let parts = parts
        .iter()
        .enumerate()
        .map(|(index, each)| part(each, &format!("{at}.content[{index}]"), model, takes_images));
    Ok(Content::Parts(parts.collect::<Result<_, _>>()?))
}

fn part<'a>(
    part: &'a Part<'a>,
    at: &str,
    model: &str,
    takes_images: bool,
) -> Result<ContentPart<'a>, ApiError> {
    match part.kind.as_ref() {
        "text" => Ok(ContentPart::Text {
            text: part.need(at, "text", part.text.as_deref())?,
        }),
        "image_url" if takes_images => {
            let image = part.need(at, "image_url", part.image_url.as_ref())?;
            Ok(ContentPart::ImageUrl {
                image_url: ImageUrl {
                    url: &image.url,
                    detail: image.detail.as_deref(),
                },
            })
        }
        kind => {
            let why = format!("Cohere takes no \"{kind}\" part in this role");
            Err(ApiError::unsupported(format!("{at}.type"), model, &why))
        }
    }
}
