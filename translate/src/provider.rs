//! The built-in providers: one row each.
//!
//! Sources: the providers' API references, November 2026. A row is a default; a deployment's
//! configuration may override every field of it.

pub use crate::auth::Auth;
use crate::openai::dialect::{self, Dialect};
use crate::wire_format::Format;

/// A built-in provider.
#[derive(Debug, Clone, Copy)]
pub struct Provider {
    pub name: &'static str,
    pub format: Format,
    /// Empty if every customer has their own.
    pub base_url: &'static str,
    /// Path after the base URL, if it differs from the format's; `{model}` stands for the model.
    pub path: Option<&'static str>,
    /// Placement of the key, if it differs from the format's.
    own_auth: Option<Auth>,
    /// Environment variable that holds the key; in lower case, the field of the secrets file.
    pub key_variable: &'static str,
    /// Deviations from OpenAI, for OpenAI's format.
    pub dialect: &'static Dialect,
    /// Set if the provider makes the models it serves, so that clients may omit its name.
    pub first_party: bool,
}

impl Provider {
    /// Returns the placement of the key.
    pub fn auth(&self) -> Auth {
        self.own_auth.unwrap_or(self.format.facts().auth)
    }
}

const fn openai_like(
    name: &'static str,
    base_url: &'static str,
    key_variable: &'static str,
    dialect: &'static Dialect,
) -> Provider {
    Provider {
        name,
        format: Format::OPENAI,
        base_url,
        path: None,
        own_auth: None,
        key_variable,
        dialect,
        first_party: false,
    }
}

const fn first_party(provider: Provider) -> Provider {
    Provider {
        first_party: true,
        ..provider
    }
}

/// All built-in providers, in the order in which a bare model name is looked up.
pub const PROVIDERS: &[Provider] = &[
    first_party(openai_like(
        "openai",
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
        &dialect::OPENAI,
    )),
    Provider {
        name: "anthropic",
        format: Format::ANTHROPIC,
        base_url: "https://api.anthropic.com",
        path: None,
        own_auth: None,
        key_variable: "ANTHROPIC_API_KEY",
        dialect: &dialect::OPENAI,
        first_party: true,
    },
    Provider {
        name: "gemini",
        format: Format::GEMINI,
        base_url: "https://generativelanguage.googleapis.com/v1beta",
        path: None,
        own_auth: None,
        key_variable: "GEMINI_API_KEY",
        dialect: &dialect::OPENAI,
        first_party: true,
    },
    first_party(openai_like(
        "mistral",
        "https://api.mistral.ai/v1",
        "MISTRAL_API_KEY",
        &dialect::MISTRAL,
    )),
    first_party(openai_like(
        "deepseek",
        "https://api.deepseek.com/v1",
        "DEEPSEEK_API_KEY",
        &dialect::DEEPSEEK,
    )),
    first_party(openai_like(
        "xai",
        "https://api.x.ai/v1",
        "XAI_API_KEY",
        &dialect::XAI,
    )),
    Provider {
        format: Format::COHERE,
        ..first_party(openai_like(
            "cohere",
            "https://api.cohere.com",
            "COHERE_API_KEY",
            &dialect::OPENAI,
        ))
    },
    Provider {
        format: Format::BEDROCK,
        ..openai_like("bedrock", "", "AWS_BEARER_TOKEN_BEDROCK", &dialect::OPENAI)
    },
    Provider {
        format: Format::VERTEX,
        ..openai_like("vertex", "", "VERTEX_ACCESS_TOKEN", &dialect::OPENAI)
    },
    first_party(openai_like(
        "perplexity",
        "https://api.perplexity.ai",
        "PERPLEXITY_API_KEY",
        &dialect::PERPLEXITY,
    )),
    first_party(openai_like(
        "moonshot",
        "https://api.moonshot.ai/v1",
        "MOONSHOT_API_KEY",
        &dialect::MOONSHOT,
    )),
    first_party(openai_like(
        "zai",
        "https://api.z.ai/api/paas/v4",
        "ZAI_API_KEY",
        &dialect::ZAI,
    )),
    first_party(openai_like(
        "qwen",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        "DASHSCOPE_API_KEY",
        &dialect::QWEN,
    )),
    first_party(openai_like(
        "minimax",
        "https://api.minimax.io/v1",
        "MINIMAX_API_KEY",
        &dialect::MINIMAX,
    )),
    Provider {
        path: Some("/openai/v1/chat/completions"),
        own_auth: Some(Auth::Header("api-key")),
        ..openai_like("azure", "", "AZURE_OPENAI_API_KEY", &dialect::OPENAI)
    },
    openai_like(
        "groq",
        "https://api.groq.com/openai/v1",
        "GROQ_API_KEY",
        &dialect::GROQ,
    ),
    openai_like(
        "together",
        "https://api.together.xyz/v1",
        "TOGETHER_API_KEY",
        &dialect::TOGETHER,
    ),
    openai_like(
        "fireworks",
        "https://api.fireworks.ai/inference/v1",
        "FIREWORKS_API_KEY",
        &dialect::FIREWORKS,
    ),
    openai_like(
        "cerebras",
        "https://api.cerebras.ai/v1",
        "CEREBRAS_API_KEY",
        &dialect::CEREBRAS,
    ),
    openai_like(
        "sambanova",
        "https://api.sambanova.ai/v1",
        "SAMBANOVA_API_KEY",
        &dialect::SAMBANOVA,
    ),
    openai_like(
        "openrouter",
        "https://openrouter.ai/api/v1",
        "OPENROUTER_API_KEY",
        &dialect::OPENROUTER,
    ),
    openai_like(
        "deepinfra",
        "https://api.deepinfra.com/v1/openai",
        "DEEPINFRA_API_KEY",
        &dialect::DEEPINFRA,
    ),
    (openai_like(
        "nvidia",
        "https://integrate.api.nvidia.com/v1",
        "NVIDIA_API_KEY",
        &dialect::NVIDIA,
    )),
    openai_like(
        "github",
        "https://models.github.ai/inference",
        "GITHUB_TOKEN",
        &dialect::GITHUB,
    ),
    Provider {
        own_auth: Some(Auth::None),
        ..openai_like(
            "ollama",
            "http://127.0.0.1:11434/v1",
            "OLLAMA_API_KEY",
            &dialect::OLLAMA,
        )
    },
];

/// Returns the row of a provider.
pub fn find(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_well_formed() {
        for (index, row) in PROVIDERS.iter().enumerate() {
            assert!(!row.base_url.ends_with('/'), "{}", row.name);
            assert!(
                row.name.bytes().all(|b| b.is_ascii_lowercase()),
                "{}",
                row.name
            );
            assert!(
                PROVIDERS[index + 1..]
                    .iter()
                    .all(|other| other.name != row.name),
                "{} twice",
                row.name
            );
        }
    }
}
