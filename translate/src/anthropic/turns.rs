//! Translates a conversation: OpenAI's messages into system blocks and alternating turns.

use std::borrow::Cow;

use base64::Engine as _;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::ApiError;
use crate::openai::ids;
use crate::openai::message::{Content, Message, Part, ToolCall, data_url};
use crate::openai::thoughts::{self, Thought};
use crate::turns::{Role, Turn, Turns};

/// A conversation in Anthropic's format.
pub(super) struct Conversation<'a> {
    pub system: Vec<Block<'a>>,
    pub turns: Vec<Turn<Block<'a>>>,
    /// Set if the last turn answers tool calls and the reasoning that led to them is missing,
    /// because the client dropped it. Anthropic requires it in such a request, unless thinking is
    /// off.
    pub lacks_thoughts: bool,
}

#[derive(Serialize)]
pub(super) struct Block<'a> {
    #[serde(flatten)]
    kind: Kind<'a>,
    /// The client's cache marker: the prefix up to here is cached.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Kind<'a> {
    Text {
        text: Cow<'a, str>,
    },
    Image {
        source: Source<'a>,
    },
    Document {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<Cow<'a, str>>,
    },
    Thinking {
        thinking: Cow<'a, str>,
        signature: Cow<'a, str>,
    },
    RedactedThinking {
        data: Cow<'a, str>,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: Cow<'a, str>,
        input: Box<RawValue>,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        content: Vec<Block<'a>>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Source<'a> {
    Base64 {
        media_type: Cow<'a, str>,
        data: Cow<'a, str>,
    },
    Url {
        url: Cow<'a, str>,
    },
    Text {
        media_type: &'static str,
        data: String,
    },
}

impl<'a> Block<'a> {
    pub(super) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Kind::Text { text: text.into() }.into()
    }

    fn is_result(&self) -> bool {
        matches!(self.kind, Kind::ToolResult { .. })
    }
}

impl<'a> From<Kind<'a>> for Block<'a> {
    fn from(kind: Kind<'a>) -> Self {
        Self {
            kind,
            cache_control: None,
        }
    }
}

pub(super) fn translate_messages<'a>(
    messages: &'a [Message<'a>],
    model: &str,
) -> Result<Conversation<'a>, ApiError> {
    let mut system = Vec::new();
    let mut turns = Turns::new();
    let mut answers_tools = false;
    let mut has_thoughts = false;
    for (index, message) in messages.iter().enumerate() {
        let at = format!("messages[{index}]");
        match message.role.as_ref() {
            "system" | "developer" => system.extend(content(message, &at, Allowed::Text, model)?),
            "user" => {
                let blocks = content(message, &at, Allowed::Everything, model)?;
                turns.append(Role::User, blocks);
            }
            "tool" => {
                let id = message.answered_call(&at)?;
                let result = Kind::ToolResult {
                    tool_use_id: legal_id(id),
                    content: content(message, &at, Allowed::Everything, model)?,
                };
                turns.append(
                    Role::User,
                    vec![marked(result.into(), message.cache_control)],
                );
            }
            "assistant" => {
                let blocks = assistant(message, &at, model)?;
                has_thoughts = matches!(
                    blocks.first(),
                    Some(Block {
                        kind: Kind::Thinking { .. } | Kind::RedactedThinking { .. },
                        ..
                    })
                );
                turns.append(Role::Assistant, blocks);
            }
            _ => return Err(message.unknown_role(&at)),
        }
        answers_tools = match message.role.as_ref() {
            "tool" => true,
            "assistant" => false,
            _ => answers_tools,
        };
    }
    Ok(Conversation {
        system,
        turns: turns.finish(Block::is_result, Block::text),
        lacks_thoughts: answers_tools && !has_thoughts,
    })
}

fn assistant<'a>(
    message: &'a Message<'a>,
    at: &str,
    model: &str,
) -> Result<Vec<Block<'a>>, ApiError> {
    message.refuse_function_call(at, model)?;
    let mut blocks = thinking(message, at)?;
    blocks.extend(content(message, at, Allowed::Text, model)?);
    if let Some(refusal) = message
        .refusal
        .as_deref()
        .filter(|text| !text.trim().is_empty())
    {
        blocks.push(Block::text(refusal));
    }
    for (index, call) in message.tool_calls.iter().flatten().enumerate() {
        blocks.push(tool_use(call, &format!("{at}.tool_calls[{index}]"), model)?);
    }
    Ok(blocks)
}

/// Returns the reasoning that came with the turn's calls: Anthropic requires it before everything
/// else.
fn thinking<'a>(message: &'a Message<'a>, at: &str) -> Result<Vec<Block<'a>>, ApiError> {
    let blocks = thoughts::of_message(message, at)?
        .into_iter()
        .map(|thought| match thought {
            Thought::Thinking {
                thinking,
                signature,
            } => Kind::Thinking {
                thinking: thinking.into(),
                signature: signature.into(),
            },
            Thought::RedactedThinking { data } => Kind::RedactedThinking { data: data.into() },
        });
    Ok(blocks.map(Block::from).collect())
}

fn tool_use<'a>(call: &'a ToolCall<'a>, at: &str, model: &str) -> Result<Block<'a>, ApiError> {
    let function = call.called(at, model, "Anthropic")?;
    Ok(Kind::ToolUse {
        id: legal_id(&call.id),
        name: Cow::Borrowed(&function.name),
        input: function.arguments_object(),
    }
    .into())
}

/// Content types that a message may contain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allowed {
    Text,
    Everything,
}

/// Translates a message's content. Blank texts are dropped, because Anthropic rejects them.
fn content<'a>(
    message: &'a Message<'a>,
    at: &str,
    allowed: Allowed,
    model: &str,
) -> Result<Vec<Block<'a>>, ApiError> {
    let mut blocks = match &message.content {
        None => Vec::new(),
        Some(Content::Text(text)) if text.trim().is_empty() => Vec::new(),
        Some(Content::Text(text)) => vec![Block::text(text.as_ref())],
        Some(Content::Parts(parts)) => parts
            .iter()
            .enumerate()
            .filter_map(|(index, part)| {
                let at = format!("{at}.content[{index}]");
                let block = part_block(part, &at, allowed, model).transpose()?;
                Some(block.map(|block| marked(block, part.cache_control)))
            })
            .collect::<Result<_, _>>()?,
    };
    // A tool's result is a block of its own and carries the marker itself.
    if message.role != "tool"
        && let Some(last) = blocks.pop()
    {
        blocks.push(marked(last, message.cache_control));
    }
    Ok(blocks)
}

/// Adds the client's cache marker to a block, if there is one.
fn marked<'a>(block: Block<'a>, cache_control: Option<&'a RawValue>) -> Block<'a> {
    Block {
        cache_control: cache_control
            .filter(|raw| raw.get() != "null")
            .or(block.cache_control),
        ..block
    }
}

fn part_block<'a>(
    part: &'a Part<'a>,
    at: &str,
    allowed: Allowed,
    model: &str,
) -> Result<Option<Block<'a>>, ApiError> {
    match (part.kind.as_ref(), allowed) {
        ("text", _) => {
            let text = part.need(at, "text", part.text.as_deref())?;
            Ok((!text.trim().is_empty()).then(|| Block::text(text)))
        }
        ("refusal", _) => {
            let text = part.need(at, "refusal", part.refusal.as_deref())?;
            Ok((!text.trim().is_empty()).then(|| Block::text(text)))
        }
        ("image_url", Allowed::Everything) => {
            let image = part.need(at, "image_url", part.image_url.as_ref())?;
            let source = image_source(&image.url, &format!("{at}.image_url.url"))?;
            Ok(Some(Kind::Image { source }.into()))
        }
        ("file", Allowed::Everything) => {
            let file = part.need(at, "file", part.file.as_ref())?;
            let data = file.data(at, model)?;
            let source = file_source(data, &format!("{at}.file.file_data"))?;
            Ok(Some(
                Kind::Document {
                    source,
                    title: file.filename.as_deref().map(Cow::Borrowed),
                }
                .into(),
            ))
        }
        (kind, _) => Err(ApiError::unsupported(
            format!("{at}.type"),
            model,
            &format!("Anthropic takes no \"{kind}\" part in this role"),
        )),
    }
}

fn image_source<'a>(url: &'a str, at: &str) -> Result<Source<'a>, ApiError> {
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(Source::Url { url: url.into() });
    }
    let (media_type, data) = data_url(url).ok_or_else(|| {
        ApiError::invalid(
            at,
            format!("`{at}` must be an http(s) URL or a data URL such as data:image/png;base64,…"),
        )
    })?;
    let media_type = match media_type {
        "image/jpg" | "image/jpeg" => "image/jpeg",
        "image/png" | "image/gif" | "image/webp" => media_type,
        other => {
            return Err(ApiError::invalid(
                at,
                format!("`{at}` is of type {other}; Anthropic takes JPEG, PNG, GIF and WebP"),
            ));
        }
    };
    Ok(Source::Base64 {
        media_type: media_type.into(),
        data: data.into(),
    })
}

fn file_source<'a>(url: &'a str, at: &str) -> Result<Source<'a>, ApiError> {
    let wrong = || {
        ApiError::invalid(
            at,
            format!(
                "`{at}` must be a data URL of a PDF or a text, such as data:application/pdf;base64,…"
            ),
        )
    };
    let (media_type, data) = data_url(url).ok_or_else(wrong)?;
    if media_type == "application/pdf" {
        return Ok(Source::Base64 {
            media_type: media_type.into(),
            data: data.into(),
        });
    }
    if media_type.starts_with("text/") {
        let text = base64::engine::general_purpose::STANDARD
            .decode(data)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(wrong)?;
        return Ok(Source::Text {
            media_type: "text/plain",
            data: text,
        });
    }
    Err(wrong())
}

fn legal_id(id: &str) -> Cow<'_, str> {
    ids::legal(id, usize::MAX, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
    })
}
