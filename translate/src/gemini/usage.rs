//! Gemini's `usageMetadata`, where reasoning tokens are not part of the answer's tokens, and cached
//! tokens are part of the prompt's.

use serde::Deserialize;

use crate::cost::{TokenCount, Usage};
use crate::lenient;

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct UsageMetadata {
    #[serde(deserialize_with = "lenient::count_or_zero")]
    prompt_token_count: TokenCount,
    #[serde(deserialize_with = "lenient::count_or_zero")]
    tool_use_prompt_token_count: TokenCount,
    #[serde(deserialize_with = "lenient::count_or_zero")]
    cached_content_token_count: TokenCount,
    #[serde(deserialize_with = "lenient::count_or_zero")]
    candidates_token_count: TokenCount,
    #[serde(deserialize_with = "lenient::count_or_zero")]
    thoughts_token_count: TokenCount,
}

impl From<UsageMetadata> for Usage {
    fn from(wire: UsageMetadata) -> Self {
        Self {
            input: wire
                .prompt_token_count
                .saturating_add(wire.tool_use_prompt_token_count),
            output: wire
                .candidates_token_count
                .saturating_add(wire.thoughts_token_count),
            cache_read: wire.cached_content_token_count,
            cache_write: 0,
            reasoning: wire.thoughts_token_count,
        }
    }
}
