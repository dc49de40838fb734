//! The built-in providers: one row each.
//!
//! Sources: the providers' API references, November 2026. A row is a default; a deployment's
//! configuration may override every field of it.

pub use crate::auth::Auth;
use crate::openai::dialect::{self, Dialect};
use crate::wire_format::Format;

/// A built-in provider.
#[derive(Debug, Clone, Copy)]
pub struct BuiltInProvider {
    pub name: &'static str,
    pub format: Format,
    /// Deviations from OpenAI, for OpenAI's format.
    pub dialect: &'static Dialect,
    /// Environment variable that holds the key; in lower case, the field of the secrets file.
    pub key_variable: &'static str,
    /// A model that supports everything its provider supports, for the tests.
    pub model: &'static str,
    /// Empty if every customer has their own.
    pub base_url: &'static str,
    /// Path after the base URL, if it differs from the format's; `{model}` stands for the model.
    pub path: Option<&'static str>,
    /// Set if the provider makes the models it serves, so that clients may omit its name.
    pub first_party: bool,
    /// Placement of the key, if it differs from the format's.
    own_auth: Option<Auth>,
}

impl BuiltInProvider {
    /// Returns the placement of the key.
    pub fn auth(&self) -> Auth {
        self.own_auth.unwrap_or(self.format.facts().auth)
    }

    const fn auth_by(self, auth: Auth) -> Self {
        Self {
            own_auth: Some(auth),
            ..self
        }
    }

    const fn at_path(self, path: &'static str) -> Self {
        Self {
            path: Some(path),
            ..self
        }
    }
}

/// A provider that makes the models it serves.
const MAKER: bool = true;
/// A provider that serves the models of others.
const HOST: bool = false;

macro_rules! providers {
    ($($name:literal $kind:ident $format:ident $dialect:ident $key:literal $url:literal
       $model:literal $(.$change:ident($value:expr))*;)*) => {
        &[$(
            BuiltInProvider {
                name: $name,
                format: Format::$format,
                dialect: &dialect::$dialect,
                key_variable: $key,
                model: $model,
                base_url: $url,
                path: None,
                first_party: $kind,
                own_auth: None,
            }
            $(.$change($value))*
        ),*]
    };
}

/// All built-in providers, in the order in which a bare model name is looked up. The columns are
/// the name, maker or host, the format, the dialect, the key's variable, the base URL and a model.
pub const PROVIDERS: &[BuiltInProvider] = providers! {
    "openai"     MAKER OPENAI    OPENAI     "OPENAI_API_KEY"           "https://api.openai.com/v1" "gpt-4o";
    "anthropic"  MAKER ANTHROPIC OPENAI     "ANTHROPIC_API_KEY"        "https://api.anthropic.com" "claude-sonnet-4-5";
    "gemini"     MAKER GEMINI    OPENAI     "GEMINI_API_KEY"           "https://generativelanguage.googleapis.com/v1beta" "gemini-3-pro";
    "mistral"    MAKER OPENAI    MISTRAL    "MISTRAL_API_KEY"          "https://api.mistral.ai/v1" "mistral-large-latest";
    "deepseek"   MAKER OPENAI    DEEPSEEK   "DEEPSEEK_API_KEY"         "https://api.deepseek.com/v1" "deepseek-chat";
    "xai"        MAKER OPENAI    XAI        "XAI_API_KEY"              "https://api.x.ai/v1" "grok-4";
    "cohere"     MAKER COHERE    OPENAI     "COHERE_API_KEY"           "https://api.cohere.com" "command-a-03-2025";
    "bedrock"    HOST  BEDROCK   OPENAI     "AWS_BEARER_TOKEN_BEDROCK" "" "anthropic.claude-sonnet-4-5-20250929-v1:0";
    "vertex"     HOST  VERTEX    OPENAI     "VERTEX_ACCESS_TOKEN"      "" "gemini-3-pro";
    "perplexity" MAKER OPENAI    PERPLEXITY "PERPLEXITY_API_KEY"       "https://api.perplexity.ai" "sonar-pro";
    "moonshot"   MAKER OPENAI    MOONSHOT   "MOONSHOT_API_KEY"         "https://api.moonshot.ai/v1" "kimi-k2";
    "zai"        MAKER OPENAI    ZAI        "ZAI_API_KEY"              "https://api.z.ai/api/paas/v4" "glm-5";
    "qwen"       MAKER OPENAI    QWEN       "DASHSCOPE_API_KEY"        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1" "qwen3-max";
    "minimax"    MAKER OPENAI    MINIMAX    "MINIMAX_API_KEY"          "https://api.minimax.io/v1" "MiniMax-M2";
    "azure"      HOST  OPENAI    OPENAI     "AZURE_OPENAI_API_KEY"     "" "my-deployment"
        .auth_by(Auth::Header("api-key")).at_path("/openai/v1/chat/completions");
    "groq"       HOST  OPENAI    GROQ       "GROQ_API_KEY"             "https://api.groq.com/openai/v1" "llama-3.3-70b-versatile";
    "together"   HOST  OPENAI    TOGETHER   "TOGETHER_API_KEY"         "https://api.together.xyz/v1" "meta-llama/Llama-3.3-70B-Instruct-Turbo";
    "fireworks"  HOST  OPENAI    FIREWORKS  "FIREWORKS_API_KEY"        "https://api.fireworks.ai/inference/v1" "accounts/fireworks/models/llama-v3p3-70b-instruct";
    "cerebras"   HOST  OPENAI    CEREBRAS   "CEREBRAS_API_KEY"         "https://api.cerebras.ai/v1" "llama-3.3-70b";
    "sambanova"  HOST  OPENAI    SAMBANOVA  "SAMBANOVA_API_KEY"        "https://api.sambanova.ai/v1" "Meta-Llama-3.3-70B-Instruct";
    "openrouter" HOST  OPENAI    OPENROUTER "OPENROUTER_API_KEY"       "https://openrouter.ai/api/v1" "meta-llama/llama-3.3-70b-instruct";
    "deepinfra"  HOST  OPENAI    DEEPINFRA  "DEEPINFRA_API_KEY"        "https://api.deepinfra.com/v1/openai" "meta-llama/Llama-3.3-70B-Instruct";
    "nvidia"     HOST  OPENAI    NVIDIA     "NVIDIA_API_KEY"           "https://integrate.api.nvidia.com/v1" "meta/llama-3.3-70b-instruct";
    "github"     HOST  OPENAI    GITHUB     "GITHUB_TOKEN"             "https://models.github.ai/inference" "openai/gpt-4o";
    "ollama"     HOST  OPENAI    OLLAMA     "OLLAMA_API_KEY"           "http://127.0.0.1:11434/v1" "llama3.3"
        .auth_by(Auth::None);
};

/// Returns the row of a provider.
pub fn find(name: &str) -> Option<&'static BuiltInProvider> {
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
