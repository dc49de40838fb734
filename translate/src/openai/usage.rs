//! OpenAI's `usage` object.

use serde::{Deserialize, Serialize};

use crate::cost::{TokenCount, Usage};
use crate::lenient;

/// `usage`, as providers of OpenAI's format send it and as clients receive it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct WireUsage {
    #[serde(default, deserialize_with = "lenient::count")]
    pub prompt_tokens: Option<TokenCount>,
    #[serde(default, deserialize_with = "lenient::count")]
    pub completion_tokens: Option<TokenCount>,
    #[serde(default, deserialize_with = "lenient::count")]
    pub total_tokens: Option<TokenCount>,
    #[serde(
        default,
        deserialize_with = "lenient::readable",
        skip_serializing_if = "Option::is_none"
    )]
    pub prompt_tokens_details: Option<PromptDetails>,
    #[serde(
        default,
        deserialize_with = "lenient::readable",
        skip_serializing_if = "Option::is_none"
    )]
    pub completion_tokens_details: Option<CompletionDetails>,
    /// DeepSeek's name for `cached_tokens`.
    #[serde(default, skip_serializing, deserialize_with = "lenient::count")]
    pub prompt_cache_hit_tokens: Option<TokenCount>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct PromptDetails {
    #[serde(default, deserialize_with = "lenient::count")]
    pub cached_tokens: Option<TokenCount>,
    #[serde(
        default,
        deserialize_with = "lenient::count",
        skip_serializing_if = "Option::is_none"
    )]
    pub cache_write_tokens: Option<TokenCount>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct CompletionDetails {
    #[serde(default, deserialize_with = "lenient::count")]
    pub reasoning_tokens: Option<TokenCount>,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let prompt = wire.prompt_tokens_details.unwrap_or_default();
        let completion = wire.completion_tokens_details.unwrap_or_default();
        let (input, said) = (
            wire.prompt_tokens.unwrap_or(0),
            wire.completion_tokens.unwrap_or(0),
        );
        let thought = completion.reasoning_tokens.unwrap_or(0);
        // xAI doesn't count reasoning in `completion_tokens`; only the total includes it.
        let with_thoughts = said.saturating_add(thought);
        let is_beside =
            thought > 0 && wire.total_tokens == Some(input.saturating_add(with_thoughts));
        Self {
            input,
            output: if is_beside { with_thoughts } else { said },
            cache_read: prompt
                .cached_tokens
                .or(wire.prompt_cache_hit_tokens)
                .unwrap_or(0),
            cache_write: prompt.cache_write_tokens.unwrap_or(0),
            reasoning: completion.reasoning_tokens.unwrap_or(0),
        }
    }
}

impl From<Usage> for WireUsage {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: Some(usage.input),
            completion_tokens: Some(usage.output),
            total_tokens: Some(usage.input.saturating_add(usage.output)),
            prompt_tokens_details: Some(PromptDetails {
                cached_tokens: Some(usage.cache_read),
                cache_write_tokens: (usage.cache_write > 0).then_some(usage.cache_write),
            }),
            completion_tokens_details: Some(CompletionDetails {
                reasoning_tokens: Some(usage.reasoning),
            }),
            prompt_cache_hit_tokens: None,
        }
    }
}
