//! Translates the blocks of a turn into the parts and calls of chat messages.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::chat::{self, CalledFunction, Content, File, Message, Part, PartKind, ToolCall};
use crate::client::history;
use crate::client::thoughts;
use crate::error::ApiError;
use crate::json;

/// A text or a list of blocks, parsed later.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Blocks<'a>(#[serde(borrow)] &'a RawValue);

/// Any block; `kind` determines which members are set.
#[derive(Deserialize)]
pub(super) struct Block<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    source: Option<Source<'a>>,
    #[serde(default, borrow)]
    title: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    thinking: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    signature: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    data: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    input: Option<&'a RawValue>,
    #[serde(default, borrow)]
    tool_use_id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    tool_name: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    content: Option<Blocks<'a>>,
    #[serde(default)]
    is_error: Option<bool>,
    #[serde(default, borrow)]
    cache_control: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Source<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    media_type: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    data: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    url: Option<Cow<'a, str>>,
}

impl<'a> Blocks<'a> {
    pub fn read(&self, at: &str) -> Result<Vec<Block<'a>>, ApiError> {
        let raw = self.0.get();
        let wrong = |error: serde_json::Error| {
            ApiError::invalid(
                at,
                format!("`{at}` must be a text or a list of blocks: {error}"),
            )
        };
        match raw.as_bytes().first() {
            Some(b'"') => {
                let text = json::text(self.0).map_err(wrong)?;
                Ok(vec![Block::of_text(text)])
            }
            Some(b'n') => Ok(Vec::new()),
            _ => serde_json::from_str(raw).map_err(wrong),
        }
    }
}

impl<'a> Block<'a> {
    fn of_text(text: Cow<'a, str>) -> Self {
        Self {
            kind: "text".into(),
            text: Some(text),
            source: None,
            title: None,
            thinking: None,
            signature: None,
            data: None,
            id: None,
            name: None,
            input: None,
            tool_use_id: None,
            tool_name: None,
            content: None,
            is_error: None,
            cache_control: None,
        }
    }

    fn missing(&self, at: &str, field: &str) -> ApiError {
        let param = format!("{at}.{field}");
        let words = format!("`{param}` is missing in a block of type {}", self.kind);
        ApiError::invalid(param, words)
    }
}

/// Translates the blocks that a chat message has parts for.
pub(super) fn parts_of<'a>(
    blocks: Vec<Block<'a>>,
    at: &str,
    model: &str,
) -> Result<Vec<Part<'a>>, ApiError> {
    blocks
        .into_iter()
        .enumerate()
        .filter_map(|(index, block)| part(block, &format!("{at}[{index}]"), model).transpose())
        .collect()
}

/// Translates a block into a part; `None` for an empty text.
fn part<'a>(block: Block<'a>, at: &str, model: &str) -> Result<Option<Part<'a>>, ApiError> {
    let missing_text = block.missing(at, "text");
    let kind = match (block.kind.as_ref(), block.source) {
        ("text", _) => {
            let text = block.text.ok_or(missing_text)?;
            if text.is_empty() {
                return Ok(None);
            }
            PartKind::Text { text }
        }
        ("image", Some(source)) => Part::image(url_of(source, at, model)?, None).kind,
        ("document", Some(source)) => match (source.kind.as_ref(), source.data) {
            ("base64", Some(data)) => {
                let media_type = source.media_type.as_deref().unwrap_or("application/pdf");
                PartKind::File {
                    file: File {
                        file_data: format!("data:{media_type};base64,{data}").into(),
                        filename: block.title.or(Some("document.pdf".into())),
                    },
                }
            }
            ("text", Some(data)) => PartKind::Text { text: data },
            _ => {
                let why = "send the document itself, as base64 or text";
                return Err(ApiError::unsupported(format!("{at}.source"), model, why));
            }
        },
        // Only Anthropic knows these, so another provider gets them as a text.
        ("server_tool_use" | "mcp_tool_use", _) => {
            let name = block.name.as_deref().unwrap_or("a tool");
            let input = block.input.map_or("{}", RawValue::get);
            let text = history::called(name, input).into();
            PartKind::Text { text }
        }
        ("compaction", _) => {
            let content = block.content.as_ref().map(|content| content.0);
            let text = history::summary(&history::words(content)).into();
            PartKind::Text { text }
        }
        ("tool_reference", _) => {
            let name = block.tool_name.as_deref().unwrap_or_default();
            let text = format!("(The tool {name}.)").into();
            PartKind::Text { text }
        }
        (kind, _) if kind == "search_result" || kind.ends_with("_tool_result") => {
            let content = block.content.as_ref().map(|content| content.0);
            let head = block.title.as_deref().unwrap_or_default();
            let text = history::result(&[head, &history::words(content)].join("\n")).into();
            PartKind::Text { text }
        }
        (kind, _) => {
            let why = format!("its provider takes no \"{kind}\" block here");
            return Err(ApiError::unsupported(format!("{at}.type"), model, &why));
        }
    };
    Ok(Some(Part {
        kind,
        cache_control: block.cache_control,
    }))
}

fn url_of<'a>(source: Source<'a>, at: &str, model: &str) -> Result<Cow<'a, str>, ApiError> {
    match (source.kind.as_ref(), source.url, source.data) {
        ("url", Some(url), _) => Ok(url),
        ("base64", _, Some(data)) => {
            let media_type = source.media_type.as_deref().unwrap_or("image/png");
            Ok(format!("data:{media_type};base64,{data}").into())
        }
        _ => {
            let why = "send the image itself, as base64, or its address";
            Err(ApiError::unsupported(format!("{at}.source"), model, why))
        }
    }
}

/// Translates a user's turn: tool results become messages of their own, before the user's.
pub(super) fn user<'a>(
    blocks: Vec<Block<'a>>,
    at: &str,
    model: &str,
    messages: &mut Vec<Message<'a>>,
) -> Result<(), ApiError> {
    let (results, said): (Vec<_>, Vec<_>) = blocks
        .into_iter()
        .enumerate()
        .partition(|(_, block)| block.kind == "tool_result");
    let mut parts = Vec::new();
    for (index, block) in results {
        let at = format!("{at}.content[{index}]");
        let missing = block.missing(&at, "tool_use_id");
        let call = block.tool_use_id.ok_or(missing)?;
        let content = match &block.content {
            Some(content) => parts_of(content.read(&at)?, &at, model)?,
            None => Vec::new(),
        };
        let (mut text, shown) = chat::tool_output(content);
        parts.extend(shown);
        if block.is_error == Some(true) {
            text = format!("Error: {text}");
        }
        messages.push(Message::result(call, text));
    }
    for (index, block) in said {
        parts.extend(part(block, &format!("{at}.content[{index}]"), model)?);
    }
    if !parts.is_empty() {
        messages.push(Message::new("user", chat::content_of(parts)));
    }
    Ok(())
}

/// Translates a turn of the assistant's; `None` if nothing of it is left for another provider.
pub(super) fn assistant<'a>(
    blocks: Vec<Block<'a>>,
    at: &str,
    model: &str,
) -> Result<Option<Message<'a>>, ApiError> {
    let mut parts = Vec::new();
    let mut calls: Vec<ToolCall<'a>> = Vec::new();
    let mut reasoning = String::new();
    let mut signed: Vec<serde_json::Value> = Vec::new();
    let mut sealed = None;
    for (index, block) in blocks.into_iter().enumerate() {
        let at = format!("{at}.content[{index}]");
        match block.kind.as_ref() {
            "thinking" => {
                let thinking = block.thinking.unwrap_or_default();
                let signature = block.signature.unwrap_or_default();
                reasoning.push_str(&thinking);
                if signature.starts_with(thoughts::MARK) {
                    sealed = thoughts::open(&signature);
                } else if !signature.is_empty() {
                    signed.push(serde_json::json!({
                        "type": "thinking", "thinking": thinking, "signature": signature,
                    }));
                }
            }
            "redacted_thinking" => {
                let data = block.data.unwrap_or_default();
                if data.starts_with(thoughts::MARK) {
                    sealed = thoughts::open(&data);
                } else {
                    signed.push(serde_json::json!({"type": "redacted_thinking", "data": data}));
                }
            }
            "tool_use" => {
                let missing = block.missing(&at, "id");
                let (Some(id), Some(name)) = (block.id, block.name) else {
                    return Err(missing);
                };
                let extra_content = sealed.take().or_else(|| {
                    let blocks = std::mem::take(&mut signed);
                    (!blocks.is_empty()).then(|| {
                        json::raw(&serde_json::json!({"anthropic": {"thinking_blocks": blocks}}))
                    })
                });
                calls.push(ToolCall {
                    id,
                    r#type: "function",
                    function: CalledFunction {
                        name,
                        arguments: block
                            .input
                            .map(RawValue::get)
                            .filter(|input| input.starts_with('{'))
                            .unwrap_or("{}")
                            .into(),
                    },
                    extra_content,
                });
            }
            _ => parts.extend(part(block, &at, model)?),
        }
    }
    if parts.is_empty() && calls.is_empty() {
        return Ok(None);
    }
    Ok(Some(Message {
        content: (!parts.is_empty()).then(|| joined(parts)),
        reasoning_content: (!reasoning.is_empty() && !calls.is_empty()).then_some(reasoning),
        tool_calls: calls,
        role: "assistant",
        tool_call_id: None,
    }))
}

/// Joins an assistant's texts into one, the form that most providers accept.
fn joined(parts: Vec<Part<'_>>) -> Content<'_> {
    let is_plain = |part: &Part<'_>| {
        matches!(part.kind, PartKind::Text { .. }) && part.cache_control.is_none()
    };
    if !parts.iter().all(is_plain) {
        return Content::Parts(parts);
    }
    let texts = parts.into_iter().filter_map(|part| match part.kind {
        PartKind::Text { text } => Some(text),
        _ => None,
    });
    Content::Text(texts.reduce(|all, text| all + text).unwrap_or_default())
}
