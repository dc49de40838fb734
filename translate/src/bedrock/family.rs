//! The model family behind a Bedrock model id, for features that Converse doesn't cover.
//!
//! Source: the Bedrock user guide, "Inference request parameters", November 2026.

use crate::anthropic::model::{Thinking, Traits};

/// Model families that are treated differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Claude,
    Nova,
    GptOss,
    Other,
}

impl Family {
    /// Parses `anthropic.claude-…`, `us.amazon.nova-…`, or an ARN that ends with such a name. The
    /// ARN of an application inference profile doesn't contain one.
    pub fn of(model: &str) -> Self {
        if model.contains("anthropic.claude") {
            Self::Claude
        } else if model.contains("amazon.nova") {
            Self::Nova
        } else if model.contains("openai.gpt-oss") {
            Self::GptOss
        } else {
            Self::Other
        }
    }

    /// Returns true if the model supports a reasoning effort.
    pub fn may_think(self, model: &str) -> bool {
        match self {
            Self::Claude => Traits::of(model).thinking != Thinking::Never,
            // The first generation doesn't.
            Self::Nova => model.contains("amazon.nova-2"),
            Self::GptOss => true,
            Self::Other => false,
        }
    }

    /// Returns true if the family supports cache points.
    pub fn caches(self) -> bool {
        matches!(self, Self::Claude | Self::Nova)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_profiles_and_arns_are_read() {
        for (model, family) in [
            ("anthropic.claude-3-haiku-20240307-v1:0", Family::Claude),
            (
                "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
                Family::Claude,
            ),
            (
                "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-pro-v1:0",
                Family::Nova,
            ),
            ("openai.gpt-oss-120b-1:0", Family::GptOss),
            ("meta.llama3-3-70b-instruct-v1:0", Family::Other),
        ] {
            assert_eq!(Family::of(model), family, "{model}");
        }
    }
}
