//! Translates a conversation: OpenAI's messages into system blocks and strictly alternating turns.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::bedrock::blocks::{
    Block, Bytes, CachePoint, Document, Media, Reasoning, ToolResult, ToolUse,
};
use crate::bedrock::family::Family;
use crate::error::ApiError;
use crate::openai::ids;
use crate::openai::message::{Content, Message, Part, ToolCall, data_url};
use crate::openai::thoughts::{self, Thought};
use crate::turns::{Role, Turn, Turns};

pub(super) struct Conversation<'a> {
    pub system: Vec<Block<'a>>,
    pub turns: Vec<Turn<Block<'a>>>,
    /// Set if the last turn answers tool calls and the reasoning that led to them is missing.
    pub lacks_thoughts: bool,
}

/// Options of the translation.
#[derive(Clone, Copy)]
pub(super) struct Manner<'m> {
    pub model: &'m str,
    pub family: Family,
    /// Renders calls and their results as text.
    pub tell_calls: bool,
}

/// Bedrock rejects messages without content, and blank texts.
const NO_OUTPUT: &str = "(no output)";

pub(super) fn translate_messages<'a>(
    messages: &'a [Message<'a>],
    manner: Manner<'_>,
) -> Result<Conversation<'a>, ApiError> {
    let mut system = Vec::new();
    let mut turns = Turns::new();
    let (mut answers_tools, mut has_thoughts) = (false, false);
    for (index, message) in messages.iter().enumerate() {
        let at = format!("messages[{index}]");
        match message.role.as_ref() {
            "system" | "developer" => {
                system.extend(content(message, &at, Allowed::Text, manner)?);
            }
            "user" => {
                let blocks = content(message, &at, Allowed::Everything, manner)?;
                turns.append(Role::User, blocks);
            }
            "tool" => {
                answers_tools = true;
                let blocks = tool_result(message, &at, manner)?;
                turns.append(Role::User, blocks);
            }
            "assistant" => {
                let blocks = assistant(message, &at, manner)?;
                answers_tools = false;
                has_thoughts = matches!(blocks.first(), Some(Block::ReasoningContent(_)));
                turns.append(Role::Assistant, blocks);
            }
            _ => return Err(message.unknown_role(&at)),
        }
    }
    let mut turns = turns.finish(Block::is_result, Block::text);
    for turn in &mut turns {
        let has = |is: fn(&Block<'_>) -> bool| turn.content.iter().any(is);
        if has(|block| matches!(block, Block::Document(_)))
            && !has(|block| matches!(block, Block::Text(_)))
        {
            // Bedrock requires a text next to a document.
            turn.content.push(Block::text("(See the document.)"));
        }
    }
    Ok(Conversation {
        system,
        turns,
        lacks_thoughts: answers_tools && !has_thoughts,
    })
}

fn assistant<'a>(
    message: &'a Message<'a>,
    at: &str,
    manner: Manner<'_>,
) -> Result<Vec<Block<'a>>, ApiError> {
    message.refuse_function_call(at, manner.model)?;
    let mut blocks = Vec::new();
    if manner.family == Family::Claude && !manner.tell_calls {
        for thought in thoughts::of_message(message, at)? {
            blocks.push(Block::ReasoningContent(match thought {
                Thought::Thinking {
                    thinking,
                    signature,
                } => Reasoning::ReasoningText {
                    text: thinking.into(),
                    signature: signature.into(),
                },
                Thought::RedactedThinking { data } => Reasoning::RedactedContent(data.into()),
            }));
        }
    }
    blocks.extend(content(message, at, Allowed::Text, manner)?);
    let refusal = message.refusal.as_deref();
    blocks.extend(
        refusal
            .filter(|text| !text.trim().is_empty())
            .map(Block::text),
    );
    for (index, call) in message.tool_calls.iter().flatten().enumerate() {
        blocks.push(tool_use(
            call,
            &format!("{at}.tool_calls[{index}]"),
            manner,
        )?);
    }
    Ok(blocks)
}

fn tool_use<'a>(
    call: &'a ToolCall<'a>,
    at: &str,
    manner: Manner<'_>,
) -> Result<Block<'a>, ApiError> {
    let function = call.called(at, manner.model, "Bedrock")?;
    if manner.tell_calls {
        return Ok(Block::text(format!(
            "(Called {} with {}.)",
            function.name,
            function.arguments()
        )));
    }
    Ok(Block::ToolUse(ToolUse {
        tool_use_id: legal_id(&call.id),
        name: &function.name,
        input: function.arguments_object(),
    }))
}

fn tool_result<'a>(
    message: &'a Message<'a>,
    at: &str,
    manner: Manner<'_>,
) -> Result<Vec<Block<'a>>, ApiError> {
    let id = message.answered_call(at)?;
    let mut content = content(message, at, Allowed::Everything, manner)?;
    if manner.tell_calls {
        let told = format!("(The result: {})", message.text());
        return Ok(vec![Block::text(told)]);
    }
    // A cache point follows the result and is not part of it.
    let point = content.pop_if(|block| matches!(block, Block::CachePoint(_)));
    if content.is_empty() {
        content.push(Block::text(NO_OUTPUT));
    }
    let result = Block::ToolResult(ToolResult {
        tool_use_id: legal_id(id),
        content,
    });
    Ok([Some(result), point].into_iter().flatten().collect())
}

/// Content types that a message may contain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allowed {
    Text,
    Everything,
}

fn content<'a>(
    message: &'a Message<'a>,
    at: &str,
    allowed: Allowed,
    manner: Manner<'_>,
) -> Result<Vec<Block<'a>>, ApiError> {
    let mut blocks = Vec::new();
    let point = |marker: Option<&RawValue>| {
        CachePoint::of_marker(marker)
            .filter(|_| manner.family.caches())
            .map(Block::CachePoint)
    };
    match &message.content {
        None => {}
        Some(Content::Text(text)) if text.trim().is_empty() => {}
        Some(Content::Text(text)) => blocks.push(Block::text(text.as_ref())),
        Some(Content::Parts(parts)) => {
            for (index, part) in parts.iter().enumerate() {
                let block = part_block(
                    part,
                    &format!("{at}.content[{index}]"),
                    allowed,
                    manner.model,
                )?;
                if let Some(block) = block {
                    blocks.push(block);
                    blocks.extend(point(part.cache_control));
                }
            }
        }
    }
    if !blocks.is_empty() {
        blocks.extend(point(message.cache_control));
    }
    Ok(blocks)
}

fn part_block<'a>(
    part: &'a Part<'a>,
    at: &str,
    allowed: Allowed,
    model: &str,
) -> Result<Option<Block<'a>>, ApiError> {
    let text = |text: &'a str| (!text.trim().is_empty()).then(|| Block::text(text));
    let block = match (part.kind.as_ref(), allowed) {
        ("text", _) => return Ok(text(part.need(at, "text", part.text.as_deref())?)),
        ("refusal", _) => return Ok(text(part.need(at, "refusal", part.refusal.as_deref())?)),
        ("image_url", Allowed::Everything) => {
            let image = part.need(at, "image_url", part.image_url.as_ref())?;
            image_block(&image.url, &format!("{at}.image_url.url"), model)?
        }
        ("input_audio", Allowed::Everything) => {
            let audio = part.need(at, "input_audio", part.input_audio.as_ref())?;
            Block::Audio(Media {
                format: &audio.format,
                source: Bytes { bytes: &audio.data },
            })
        }
        ("file", Allowed::Everything) => {
            let file = part.need(at, "file", part.file.as_ref())?;
            let data = file.data(at, model)?;
            document(
                data,
                file.filename.as_deref(),
                &format!("{at}.file.file_data"),
            )?
        }
        (kind, _) => {
            let why = format!("Bedrock takes no \"{kind}\" part in this role");
            return Err(ApiError::unsupported(format!("{at}.type"), model, &why));
        }
    };
    Ok(Some(block))
}

fn image_block<'a>(url: &'a str, at: &str, model: &str) -> Result<Block<'a>, ApiError> {
    let Some((media_type, bytes)) = data_url(url) else {
        let why = "Bedrock fetches no images; send a data URL such as data:image/png;base64,…";
        return Err(ApiError::unsupported(at, model, why));
    };
    let format = match media_type {
        "image/jpg" | "image/jpeg" => "jpeg",
        "image/png" => "png",
        "image/gif" => "gif",
        "image/webp" => "webp",
        other => {
            let words = format!("`{at}` is of type {other}; Bedrock takes JPEG, PNG, GIF and WebP");
            return Err(ApiError::invalid(at, words));
        }
    };
    Ok(Block::Image(Media {
        format,
        source: Bytes { bytes },
    }))
}

fn document<'a>(url: &'a str, name: Option<&str>, at: &str) -> Result<Block<'a>, ApiError> {
    let wrong = || {
        let words = format!(
            "`{at}` must be a data URL of a document, such as data:application/pdf;base64,…"
        );
        ApiError::invalid(at, words)
    };
    let (media_type, bytes) = data_url(url).ok_or_else(wrong)?;
    let format = match media_type {
        "application/pdf" => "pdf",
        "text/csv" => "csv",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        "text/html" => "html",
        "text/markdown" => "md",
        kind if kind.starts_with("text/") => "txt",
        _ => return Err(wrong()),
    };
    Ok(Block::Document(Document {
        format,
        name: document_name(name.unwrap_or("document")),
        source: Bytes { bytes },
    }))
}

/// Names may contain letters, digits, single spaces, hyphens, parentheses and brackets. The
/// extension is sent as the format.
fn document_name(name: &str) -> String {
    const MAX_LENGTH: usize = 200;
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let legal: String = stem
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() || "-()[]".contains(c) => c,
            _ => ' ',
        })
        .take(MAX_LENGTH)
        .collect();
    let words: Vec<&str> = legal.split_whitespace().collect();
    match words.join(" ") {
        empty if empty.is_empty() => "document".to_owned(),
        name => name,
    }
}

fn legal_id(id: &str) -> Cow<'_, str> {
    ids::legal(id, 64, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_documents_are_made_legal() {
        for (name, legal) in [
            ("report.pdf", "report"),
            ("Q3  report_v2 (final).pdf", "Q3 report v2 (final)"),
            ("über.pdf", "ber"),
            ("…", "document"),
        ] {
            assert_eq!(document_name(name), legal);
        }
    }
}
