//! The content blocks of a message.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

/// A union: exactly one member is set.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Block<'a> {
    Text(Cow<'a, str>),
    Image(Media<'a>),
    Document(Document<'a>),
    Audio(Media<'a>),
    ToolUse(ToolUse<'a>),
    ToolResult(ToolResult<'a>),
    CachePoint(CachePoint),
    ReasoningContent(Reasoning<'a>),
}

#[derive(Serialize)]
pub(super) struct Media<'a> {
    pub format: &'a str,
    pub source: Bytes<'a>,
}

#[derive(Serialize)]
pub(super) struct Document<'a> {
    pub format: &'static str,
    pub name: String,
    pub source: Bytes<'a>,
}

#[derive(Serialize)]
pub(super) struct Bytes<'a> {
    /// Base64.
    pub bytes: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolUse<'a> {
    pub tool_use_id: Cow<'a, str>,
    pub name: &'a str,
    pub input: Box<RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolResult<'a> {
    pub tool_use_id: Cow<'a, str>,
    pub content: Vec<Block<'a>>,
}

/// Cache marker: the prefix up to here is cached.
#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub(super) struct CachePoint {
    pub r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Reasoning<'a> {
    ReasoningText {
        text: Cow<'a, str>,
        signature: Cow<'a, str>,
    },
    /// Base64.
    RedactedContent(Cow<'a, str>),
}

impl<'a> Block<'a> {
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    /// Returns true if the block is a tool's result.
    pub fn is_result(&self) -> bool {
        matches!(self, Self::ToolResult(_))
    }
}

impl CachePoint {
    /// Translates a client's `cache_control`; returns `None` if it has none.
    pub fn of_marker(marker: Option<&RawValue>) -> Option<Self> {
        let marker = marker.filter(|raw| raw.get() != "null")?.get();
        let ttl = ["5m", "1h"]
            .into_iter()
            .find(|ttl| marker.contains(&format!("\"{ttl}\"")));
        Some(Self {
            r#type: "default",
            ttl,
        })
    }
}
