//! Whose model is behind a Bedrock model id, for what Converse has no words of its own.
//!
//! Source: the Bedrock user guide, "Inference request parameters", November 2026.

use crate::anthropic::model::{Thinking, Traits};

/// Whose a model is, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Claude,
    Nova,
    GptOss,
    Other,
}

impl Family {
    /// Reads `anthropic.claude-…`, `us.amazon.nova-…`, or an ARN that ends so. An ARN of an application's own profile tells nothing.
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

    /// Whether the model can be told to think.
    pub fn may_think(self, model: &str) -> bool {
        match self {
            Self::Claude => Traits::of(model).thinking != Thinking::Never,
            // The first generation does not.
            Self::Nova => model.contains("amazon.nova-2"),
            Self::GptOss => true,
            Self::Other => false,
        }
    }

    /// Whether cache points mean something.
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
