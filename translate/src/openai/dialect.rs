//! Where providers of OpenAI's format depart from OpenAI.
//!
//! Sources: the providers' API references and SDK types, November 2026, and their own error messages. `docs/providers.md` is made
//! from this table.

use memchr::memmem;

/// What becomes of a request's fields at a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Top-level fields that can't go as they are.
    pub fields: &'static [(&'static str, Rule)],
    /// All top-level fields there are, where one more makes the provider refuse the request. Empty where it does not mind.
    pub known_fields: &'static [&'static str],
    /// All fields of a message there are, in the same way.
    pub known_message_fields: &'static [&'static str],
    pub stream_usage: StreamUsage,
    pub tool_choice: ToolChoice,
    /// Whether functions may be `strict`.
    pub strict_functions: bool,
    /// Whether tools and a response format may come together.
    pub tools_with_format: bool,
    /// Whether there are developer messages beside system ones.
    pub developer_role: bool,
    /// Whether a content of text parts may be a list.
    pub text_parts: bool,
    pub json_schema: bool,
    pub tool_call_ids: ToolCallIds,
    /// Whether what other providers want may stand in a request: Anthropic's markers of what to cache, and what came with a tool
    /// call for the provider that made it.
    pub foreign_members: bool,
    /// Whether a message may hold what the model thought, as `reasoning_content`.
    pub thoughts_come_back: bool,
    /// What the provider's reasoning models call `max_tokens`.
    pub reasoning_max_tokens: Option<&'static str>,
    /// Whether its answers have words of their own, so that they have to be looked at.
    pub own_answers: bool,
    /// Whether it serves OpenAI's Responses API too.
    pub responses: bool,
    /// Whether its embeddings come as base64 where that is asked for.
    pub base64_embeddings: bool,
    /// What it calls the `dimensions` of embeddings, where that is not its name.
    pub embedding_dimensions: Option<&'static str>,
}

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// It has another name there.
    Rename(&'static str),
    /// It is left out, and the answer is the same.
    Omit,
    /// A 400 that says why, unless the value asks for nothing.
    Refuse(&'static str),
}

/// How token usage of a stream is had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamUsage {
    /// `stream_options.include_usage` asks for it.
    Option,
    /// It is always there, and `stream_options` is refused.
    Always,
}

/// Which values of `tool_choice` there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolChoice {
    All,
    /// No tool can be forced.
    AutoOrNone,
    /// Nothing else than the default.
    Auto,
}

/// What the id of a tool call may look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolCallIds {
    Any,
    /// Nine of `[a-zA-Z0-9]`.
    NineAlphanumerics,
}

/// OpenAI itself.
pub const OPENAI: Dialect = Dialect {
    fields: &[],
    known_fields: &[],
    known_message_fields: &[],
    stream_usage: StreamUsage::Option,
    tool_choice: ToolChoice::All,
    strict_functions: true,
    tools_with_format: true,
    developer_role: true,
    text_parts: true,
    json_schema: true,
    tool_call_ids: ToolCallIds::Any,
    foreign_members: false,
    thoughts_come_back: false,
    reasoning_max_tokens: Some("max_completion_tokens"),
    own_answers: false,
    responses: true,
    base64_embeddings: true,
    embedding_dimensions: None,
};

/// A server about which nothing is known: what the client says goes there as it is.
pub const COMPATIBLE: Dialect = Dialect {
    foreign_members: true,
    thoughts_come_back: true,
    reasoning_max_tokens: None,
    responses: false,
    base64_embeddings: false,
    ..OPENAI
};

/// Open models behind a server of OpenAI's format.
const OPEN_MODELS: Dialect = Dialect {
    foreign_members: false,
    developer_role: false,
    ..COMPATIBLE
};

const MAX_TOKENS: (&str, Rule) = ("max_completion_tokens", Rule::Rename("max_tokens"));

pub const GROQ: Dialect = Dialect {
    fields: &[
        ("logprobs", Rule::Refuse("Groq gives no log probabilities")),
        (
            "top_logprobs",
            Rule::Refuse("Groq gives no log probabilities"),
        ),
        ("logit_bias", Rule::Refuse("Groq has nothing like it")),
        (
            "n",
            Rule::Refuse("Groq answers once per request; call it once for each answer"),
        ),
    ],
    known_message_fields: &["role", "content", "tool_calls", "tool_call_id", "reasoning"],
    ..OPEN_MODELS
};

/// Mistral refuses every field that it does not know.
pub const MISTRAL: Dialect = Dialect {
    fields: &[MAX_TOKENS, ("seed", Rule::Rename("random_seed"))],
    known_fields: &[
        "model",
        "messages",
        "temperature",
        "top_p",
        "max_tokens",
        "stream",
        "stop",
        "random_seed",
        "metadata",
        "response_format",
        "tools",
        "tool_choice",
        "presence_penalty",
        "frequency_penalty",
        "n",
        "prediction",
        "parallel_tool_calls",
        "prompt_mode",
        "reasoning_effort",
        "guardrails",
        "prompt_cache_key",
        "safe_prompt",
    ],
    known_message_fields: &["role", "content", "tool_calls", "tool_call_id", "prefix"],
    stream_usage: StreamUsage::Always,
    tool_call_ids: ToolCallIds::NineAlphanumerics,
    embedding_dimensions: Some("output_dimension"),
    own_answers: true,
    ..OPEN_MODELS
};

pub const DEEPSEEK: Dialect = Dialect {
    fields: &[MAX_TOKENS],
    json_schema: false,
    ..OPEN_MODELS
};

pub const PERPLEXITY: Dialect = Dialect {
    fields: &[
        ("tools", Rule::Refuse("Perplexity's models call no tools")),
        (
            "tool_choice",
            Rule::Refuse("Perplexity's models call no tools"),
        ),
        ("parallel_tool_calls", Rule::Omit),
        MAX_TOKENS,
    ],
    stream_usage: StreamUsage::Always,
    ..OPEN_MODELS
};

pub const CEREBRAS: Dialect = Dialect {
    fields: &[
        (
            "presence_penalty",
            Rule::Refuse("Cerebras has no penalties"),
        ),
        (
            "frequency_penalty",
            Rule::Refuse("Cerebras has no penalties"),
        ),
        ("logit_bias", Rule::Refuse("Cerebras has nothing like it")),
    ],
    ..OPEN_MODELS
};

pub const SAMBANOVA: Dialect = Dialect {
    fields: &[MAX_TOKENS],
    text_parts: false,
    ..OPEN_MODELS
};

pub const TOGETHER: Dialect = Dialect {
    fields: &[MAX_TOKENS],
    ..OPEN_MODELS
};

pub const FIREWORKS: Dialect = Dialect {
    fields: &[MAX_TOKENS],
    strict_functions: false,
    tools_with_format: false,
    ..OPEN_MODELS
};

pub const XAI: Dialect = OPEN_MODELS;

/// It passes on to providers of every kind, and knows their ways itself.
pub const OPENROUTER: Dialect = COMPATIBLE;

pub const DEEPINFRA: Dialect = Dialect {
    fields: &[MAX_TOKENS],
    tool_choice: ToolChoice::AutoOrNone,
    ..OPEN_MODELS
};

pub const NVIDIA: Dialect = Dialect {
    fields: &[MAX_TOKENS],
    stream_usage: StreamUsage::Always,
    ..OPEN_MODELS
};

/// OpenAI's and other models, behind Azure.
pub const GITHUB: Dialect = Dialect {
    responses: false,
    ..OPENAI
};

pub const MOONSHOT: Dialect = Dialect {
    fields: &[MAX_TOKENS],
    tool_choice: ToolChoice::AutoOrNone,
    ..OPEN_MODELS
};

pub const ZAI: Dialect = Dialect {
    fields: &[MAX_TOKENS],
    tool_choice: ToolChoice::Auto,
    own_answers: true,
    ..OPEN_MODELS
};

pub const QWEN: Dialect = Dialect {
    fields: &[MAX_TOKENS],
    tool_choice: ToolChoice::AutoOrNone,
    ..OPEN_MODELS
};

pub const MINIMAX: Dialect = Dialect {
    fields: &[MAX_TOKENS],
    ..OPEN_MODELS
};

pub const OLLAMA: Dialect = Dialect {
    fields: &[MAX_TOKENS],
    ..OPEN_MODELS
};

impl Dialect {
    /// Whether a body may have to be rewritten. Where not, the provider's name for the model and a word on usage are all
    /// that changes.
    pub fn concerns(&self, body: &[u8], model: &str) -> bool {
        let has = |name: &[u8]| memmem::find(body, name).is_some();
        let is_regular = self.fields.is_empty()
            && self.known_fields.is_empty()
            && self.known_message_fields.is_empty()
            && self.tool_choice == ToolChoice::All
            && self.strict_functions
            && self.tools_with_format
            && self.text_parts
            && self.json_schema
            && self.tool_call_ids == ToolCallIds::Any;
        !is_regular
            || (!self.developer_role && has(b"\"developer\""))
            || (!self.foreign_members && (has(b"\"cache_control\"") || has(b"\"extra_content\"")))
            || (!self.thoughts_come_back && has(b"\"reasoning_content\""))
            || (self.reasoning_max_tokens.is_some()
                && is_reasoning_model(model)
                && has(b"\"max_tokens\""))
    }
}

/// Fields that say something about a call, not about its answer: where a provider refuses what it does not know, they are left
/// out.
pub const ABOUT_THE_CALL: &[&str] = &[
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "stream_options",
    "user",
];

/// Whether a model of OpenAI's reasons, and so has a limit of its own for what it says and thinks.
pub fn is_reasoning_model(model: &str) -> bool {
    ["o1", "o3", "o4", "gpt-5", "gpt-6"]
        .iter()
        .any(|prefix| model.starts_with(prefix))
}
