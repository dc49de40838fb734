//! The capabilities of a Claude model, derived from its name.
//!
//! Source: Anthropic's model pages and its API's own error messages, November 2026.

/// The way a model is asked to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thinking {
    /// Doesn't support thinking.
    Never,
    /// `thinking: {type: enabled, budget_tokens}`.
    Budget,
    /// `thinking: {type: adaptive}` with `output_config.effort`.
    Adaptive,
}

/// The capabilities of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    pub thinking: Thinking,
    /// `temperature` and `top_p` are supported.
    pub sampling: bool,
    /// `output_config.format` is supported.
    pub json_schema: bool,
    /// Default if the catalog has no limit.
    pub max_output_tokens: u64,
}

impl Traits {
    /// Parses `claude-opus-4-7`, `claude-3-5-sonnet-20241022` and the like. A name without a
    /// version counts as the newest model.
    pub fn of(model: &str) -> Self {
        let version = version(model).unwrap_or((u32::MAX, 0));
        let is_opus = model.contains("opus");
        Self {
            thinking: match version {
                (..=2, _) | (3, ..=6) => Thinking::Never,
                (3, _) | (4, ..=5) => Thinking::Budget,
                _ => Thinking::Adaptive,
            },
            sampling: match version {
                (..=3, _) | (4, ..=6) => true,
                (4, _) => !is_opus,
                _ => false,
            },
            json_schema: version >= (4, 5),
            max_output_tokens: match version {
                (..=2, _) | (3, 0..=4) => 4096,
                (3, ..=6) => 8192,
                (4, ..=1) if is_opus => 32_000,
                _ => 64_000,
            },
        }
    }
}

/// Returns the first one or two short numbers in a name; dates are longer.
fn version(model: &str) -> Option<(u32, u32)> {
    let mut numbers = model
        .split(|c: char| !c.is_ascii_alphanumeric())
        .skip_while(|part| !is_short_number(part))
        .take_while(|part| is_short_number(part))
        .filter_map(|part| part.parse().ok());
    Some((numbers.next()?, numbers.next().unwrap_or(0)))
}

fn is_short_number(part: &str) -> bool {
    (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_names() {
        for (model, expected) in [
            ("claude-3-haiku-20240307", Some((3, 0))),
            ("claude-3-5-sonnet-20241022", Some((3, 5))),
            ("claude-sonnet-4-20250514", Some((4, 0))),
            ("claude-opus-4-7", Some((4, 7))),
            ("claude-opus-4.7", Some((4, 7))),
            ("claude-sonnet-5", Some((5, 0))),
            ("claude", None),
        ] {
            assert_eq!(version(model), expected, "{model}");
        }
    }

    #[test]
    fn traits_follow_the_version() {
        assert_eq!(
            Traits::of("claude-3-5-haiku-20241022").thinking,
            Thinking::Never
        );
        assert_eq!(
            Traits::of("claude-3-7-sonnet-20250219").thinking,
            Thinking::Budget
        );
        assert_eq!(Traits::of("claude-haiku-4-5").thinking, Thinking::Budget);
        assert_eq!(Traits::of("claude-sonnet-4-6").thinking, Thinking::Adaptive);
        assert!(Traits::of("claude-sonnet-4-6").sampling);
        assert!(!Traits::of("claude-opus-4-7").sampling);
        assert!(!Traits::of("claude-opus-5").sampling);
        assert!(!Traits::of("claude-opus-4-1").json_schema);
    }
}
