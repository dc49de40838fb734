//! The facts that the gateway reads from a whole answer, in any API.

use crate::json;
use std::borrow::Cow;

use serde::Deserialize;

use crate::anthropic::usage::WireUsage;
use crate::client::Api;
use crate::cost::{TokenCount, Usage};
use crate::openai::response::{self, Summary};

/// The relevant members of Anthropic's message.
#[derive(Deserialize)]
pub(super) struct MessageView<'a> {
    #[serde(default)]
    pub usage: Option<WireUsage>,
    #[serde(default, borrow)]
    pub stop_reason: Option<Cow<'a, str>>,
}

/// The relevant members of OpenAI's response.
#[derive(Deserialize)]
pub(super) struct ResponseView<'a> {
    #[serde(default)]
    usage: Option<ResponseUsage>,
    #[serde(default, borrow)]
    output: Vec<ItemView<'a>>,
}

#[derive(Deserialize)]
struct ItemView<'a> {
    #[serde(rename = "type", default, borrow)]
    kind: Cow<'a, str>,
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(default)]
struct ResponseUsage {
    input_tokens: TokenCount,
    output_tokens: TokenCount,
    input_tokens_details: InputDetails,
    output_tokens_details: OutputDetails,
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(default)]
struct InputDetails {
    cached_tokens: TokenCount,
    cache_write_tokens: Option<TokenCount>,
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: TokenCount,
}

impl From<ResponseUsage> for Usage {
    fn from(wire: ResponseUsage) -> Self {
        Self {
            input: wire.input_tokens,
            output: wire.output_tokens,
            cache_read: wire.input_tokens_details.cached_tokens,
            cache_write: wire.input_tokens_details.cache_write_tokens.unwrap_or(0),
            reasoning: wire.output_tokens_details.reasoning_tokens,
        }
    }
}

impl ResponseView<'_> {
    pub fn summary(&self) -> Summary {
        Summary {
            usage: self.usage.map(Usage::from),
            calls_tools: self.output.iter().any(|item| item.kind == "function_call"),
        }
    }
}

/// Parses an answer's body. An unreadable body gives an empty summary.
pub fn summarize(api: Api, body: &[u8]) -> Summary {
    match api {
        Api::ChatCompletions => response::summarize(body),
        Api::Messages => json::from_bytes::<MessageView<'_>>(body)
            .map(|view| Summary {
                usage: view.usage.map(Usage::from),
                calls_tools: view.stop_reason.as_deref() == Some("tool_use"),
            })
            .unwrap_or_default(),
        Api::Responses => json::from_bytes::<ResponseView<'_>>(body)
            .map(|view| view.summary())
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_every_api_are_summarized() {
        let message = br#"{"stop_reason":"tool_use","usage":{"input_tokens":3,"cache_read_input_tokens":4,"output_tokens":5}}"#;
        let summary = summarize(Api::Messages, message);
        let usage = summary.usage.unwrap();
        assert_eq!((usage.input, usage.output, usage.cache_read), (7, 5, 4));
        assert!(summary.calls_tools);
        let response = br#"{"output":[{"type":"function_call"}],"usage":{"input_tokens":7,"output_tokens":5,"input_tokens_details":{"cached_tokens":4}}}"#;
        let summary = summarize(Api::Responses, response);
        let usage = summary.usage.unwrap();
        assert_eq!((usage.input, usage.output, usage.cache_read), (7, 5, 4));
        assert!(summary.calls_tools);
        assert_eq!(summarize(Api::Responses, b"<html>"), Summary::default());
    }
}
