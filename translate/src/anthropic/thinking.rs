//! Thinking budgets and efforts of Claude models.

use serde::Serialize;

use crate::anthropic::model::{Thinking, Traits};
use crate::error::ApiError;
use crate::openai::request;

/// `thinking` of a request, on any platform.
#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum ThinkingConfig {
    Enabled { budget_tokens: u64 },
    Adaptive,
    Disabled,
}

/// Anthropic's minimum thinking budget.
const MIN_BUDGET: u64 = 1024;

/// Maps a reasoning effort to a model's `thinking` and its own `effort`.
pub(crate) fn think(
    effort: &str,
    traits: &Traits,
    max_tokens: u64,
    can_think: bool,
    model: &str,
) -> Result<(Option<ThinkingConfig>, Option<&'static str>), ApiError> {
    let (budget, own_effort) = match effort {
        "none" => (0, None),
        "minimal" => (MIN_BUDGET, Some("low")),
        "low" => (2048, Some("low")),
        "medium" => (8192, Some("medium")),
        "high" => (24_576, Some("high")),
        "xhigh" => (32_768, Some("xhigh")),
        "max" => (65_536, Some("max")),
        _ => return Err(request::unknown_effort()),
    };
    match (traits.thinking, own_effort) {
        (Thinking::Never, None) => Ok((None, None)),
        (Thinking::Never, Some(_)) => Err(ApiError::unsupported(
            "reasoning_effort",
            model,
            "it does not reason; leave it out or use Claude 3.7 or later",
        )),
        (_, None) => Ok((Some(ThinkingConfig::Disabled), None)),
        (Thinking::Adaptive, own_effort) => {
            Ok((can_think.then_some(ThinkingConfig::Adaptive), own_effort))
        }
        // A budget must leave room for the answer.
        (Thinking::Budget, _) if !can_think || max_tokens <= MIN_BUDGET => Ok((None, None)),
        (Thinking::Budget, _) => Ok((
            Some(ThinkingConfig::Enabled {
                budget_tokens: budget.min(max_tokens - 1),
            }),
            None,
        )),
    }
}
