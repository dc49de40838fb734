//! Bedrock's `usage`, where cached tokens are not part of the input tokens.

use serde::Deserialize;

use crate::cost::{TokenCount, Usage};
use crate::lenient;

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct TokenUsage {
    #[serde(deserialize_with = "lenient::count_or_zero")]
    input_tokens: TokenCount,
    #[serde(deserialize_with = "lenient::count_or_zero")]
    output_tokens: TokenCount,
    #[serde(deserialize_with = "lenient::count")]
    cache_read_input_tokens: Option<TokenCount>,
    #[serde(deserialize_with = "lenient::count")]
    cache_write_input_tokens: Option<TokenCount>,
}

impl From<TokenUsage> for Usage {
    fn from(wire: TokenUsage) -> Self {
        let cache_read = wire.cache_read_input_tokens.unwrap_or(0);
        let cache_write = wire.cache_write_input_tokens.unwrap_or(0);
        Self {
            input: wire
                .input_tokens
                .saturating_add(cache_read)
                .saturating_add(cache_write),
            output: wire.output_tokens,
            cache_read,
            cache_write,
            reasoning: 0,
        }
    }
}
