//! Anthropic's `usage`, where cached tokens are not part of the input tokens.

use serde::Deserialize;

use crate::cost::{TokenCount, Usage};
use crate::lenient;

#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(crate) struct WireUsage {
    #[serde(default, deserialize_with = "lenient::count")]
    input_tokens: Option<TokenCount>,
    #[serde(default, deserialize_with = "lenient::count")]
    output_tokens: Option<TokenCount>,
    #[serde(default, deserialize_with = "lenient::count")]
    cache_creation_input_tokens: Option<TokenCount>,
    #[serde(default, deserialize_with = "lenient::count")]
    cache_read_input_tokens: Option<TokenCount>,
    #[serde(default, deserialize_with = "lenient::readable")]
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct OutputDetails {
    #[serde(default, deserialize_with = "lenient::count")]
    thinking_tokens: Option<TokenCount>,
}

impl WireUsage {
    /// Merges a later report, whose counts are totals so far.
    pub(crate) fn update(&mut self, later: Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.cache_creation_input_tokens = later
            .cache_creation_input_tokens
            .or(self.cache_creation_input_tokens);
        self.cache_read_input_tokens = later
            .cache_read_input_tokens
            .or(self.cache_read_input_tokens);
        self.output_tokens_details = later.output_tokens_details.or(self.output_tokens_details);
    }
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let cache_read = wire.cache_read_input_tokens.unwrap_or(0);
        let cache_write = wire.cache_creation_input_tokens.unwrap_or(0);
        Self {
            input: wire
                .input_tokens
                .unwrap_or(0)
                .saturating_add(cache_read)
                .saturating_add(cache_write),
            output: wire.output_tokens.unwrap_or(0),
            cache_read,
            cache_write,
            reasoning: wire
                .output_tokens_details
                .and_then(|details| details.thinking_tokens)
                .unwrap_or(0),
        }
    }
}
