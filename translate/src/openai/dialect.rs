//! Deviations from OpenAI among providers of its format.
//!
//! Sources: the providers' API references and SDK types, November 2026, and their own error
//! messages. `docs/providers.md` is generated from this table.

use crate::needle::Needle;

static DEVELOPER: Needle = Needle::new("\"developer\"");
static CACHE_CONTROL: Needle = Needle::new("\"cache_control\"");
static EXTRA_CONTENT: Needle = Needle::new("\"extra_content\"");
static REASONING_CONTENT: Needle = Needle::new("\"reasoning_content\"");
static MAX_TOKENS_FIELD: Needle = Needle::new("\"max_tokens\"");

/// The treatment of a request's fields by a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Top-level fields that can't be sent unchanged.
    pub fields: &'static [(&'static str, Rule)],
    /// All known top-level fields, if the provider rejects unknown ones; empty if it ignores them.
    pub known_fields: &'static [&'static str],
    /// All known fields of a message, in the same way.
    pub known_message_fields: &'static [&'static str],
    pub stream_usage: StreamUsage,
    pub tool_choice: ToolChoice,
    /// Set if functions may be `strict`.
    pub strict_functions: bool,
    /// Set if tools and a response format may be combined.
    pub tools_with_format: bool,
    /// Set if there are developer messages in addition to system messages.
    pub developer_role: bool,
    /// Set if content of text parts may be a list.
    pub text_parts: bool,
    pub json_schema: bool,
    pub tool_call_ids: ToolCallIds,
    /// Set if a request may contain other providers' members: Anthropic's cache markers, and the
    /// `extra_content` that came with a tool call for the provider that made it.
    pub foreign_members: bool,
    /// Set if a message may contain the model's reasoning, as `reasoning_content`.
    pub thoughts_come_back: bool,
    /// The name of `max_tokens` for the provider's reasoning models.
    pub reasoning_max_tokens: Option<&'static str>,
    /// Set if its answers have fields of its own, so that they must be rewritten.
    pub own_answers: bool,
    /// Set if it also serves OpenAI's Responses API.
    pub responses: bool,
    /// Set if it returns embeddings as base64 on request.
    pub base64_embeddings: bool,
    /// The name of the `dimensions` of embeddings, if it differs.
    pub embedding_dimensions: Option<&'static str>,
}

/// The treatment of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The field has another name at the provider.
    Rename(&'static str),
    /// The field is dropped; the answer is the same without it.
    Omit,
    /// A 400 with this reason, unless the value is the default.
    Refuse(&'static str),
}

/// The reporting of a stream's token usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamUsage {
    /// On request, with `stream_options.include_usage`.
    Option,
    /// Always; `stream_options` is rejected.
    Always,
}

/// Supported values of `tool_choice`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolChoice {
    All,
    /// No tool can be forced.
    AutoOrNone,
    /// Only the default.
    Auto,
}

/// Accepted ids of tool calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolCallIds {
    Any,
    /// Nine characters of `[a-zA-Z0-9]`.
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

/// An unknown server: the client's request is sent unchanged.
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

/// Mistral rejects every unknown field.
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

/// It forwards to all kinds of providers and handles their deviations itself.
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

/// Models of OpenAI and others, behind Azure.
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
    /// Returns true if a body may have to be rewritten. If not, only the model's name and the usage
    /// option change.
    pub fn concerns(&self, body: &[u8], model: &str) -> bool {
        let has = |name: &Needle| name.is_in(body);
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
            || (!self.developer_role && has(&DEVELOPER))
            || (!self.foreign_members && (has(&CACHE_CONTROL) || has(&EXTRA_CONTENT)))
            || (!self.thoughts_come_back && has(&REASONING_CONTENT))
            || (self.reasoning_max_tokens.is_some()
                && is_reasoning_model(model)
                && has(&MAX_TOKENS_FIELD))
    }
}

/// Fields about the call, not the answer: dropped for providers that reject unknown fields.
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

/// Returns true for OpenAI's reasoning models, which have a limit of their own for reasoning and
/// answer together.
pub fn is_reasoning_model(model: &str) -> bool {
    ["o1", "o3", "o4", "gpt-5", "gpt-6"]
        .iter()
        .any(|prefix| model.starts_with(prefix))
}
