//! The facts that the gateway reads from a response.

use std::borrow::Cow;

use serde::Deserialize;

use crate::cost::{TokenCount, Usage};
use crate::lenient;
use crate::openai::response::Summary;

/// The relevant members of OpenAI's response.
#[derive(Deserialize)]
pub(super) struct ResponseView<'a> {
    #[serde(default, deserialize_with = "lenient::readable")]
    usage: Option<ResponseUsage>,
    #[serde(default, borrow)]
    output: Vec<ItemView<'a>>,
}

#[derive(Deserialize)]
struct ItemView<'a> {
    #[serde(rename = "type", default, borrow)]
    kind: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(default)]
struct ResponseUsage {
    #[serde(deserialize_with = "lenient::count_or_zero")]
    input_tokens: TokenCount,
    #[serde(deserialize_with = "lenient::count_or_zero")]
    output_tokens: TokenCount,
    input_tokens_details: InputDetails,
    output_tokens_details: OutputDetails,
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(default)]
struct InputDetails {
    #[serde(deserialize_with = "lenient::count_or_zero")]
    cached_tokens: TokenCount,
    #[serde(deserialize_with = "lenient::count")]
    cache_write_tokens: Option<TokenCount>,
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(default)]
struct OutputDetails {
    #[serde(deserialize_with = "lenient::count_or_zero")]
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
            usage: self.usage.and_then(|usage| Usage::from(usage).reported()),
            calls_tools: self
                .output
                .iter()
                .any(|item| item.kind.as_deref() == Some("function_call")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Api;

    #[test]
    fn a_response_is_summarized() {
        let response = br#"{"output":[{"type":"function_call"}],"usage":{"input_tokens":7,"output_tokens":5,"input_tokens_details":{"cached_tokens":4}}}"#;
        let summary = Api::RESPONSES.summarize(response);
        let usage = summary.usage.unwrap();
        assert_eq!((usage.input, usage.output, usage.cache_read), (7, 5, 4));
        assert!(summary.calls_tools);
        assert_eq!(Api::RESPONSES.summarize(b"<html>"), Summary::default());
    }
}
