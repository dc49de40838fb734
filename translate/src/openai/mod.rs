//! OpenAI's Chat Completions: the format that every client and most providers use.
//!
//! Source: OpenAI API reference, chat completions, November 2026.

pub mod aggregate;
pub(crate) mod chunks;
pub(crate) mod completion;
pub mod dialect;
pub mod edit;
pub(crate) mod embeddings;
pub mod envelope;
pub mod error;
pub mod format;
pub(crate) mod ids;
pub(crate) mod logprobs;
pub mod message;
pub mod normalize;
pub mod request;
pub mod response;
pub mod rewrite;
pub mod subject;
pub mod tap;
pub(crate) mod thoughts;
pub(crate) mod unanswered;
pub mod unsupported;
pub mod usage;

/// Path after the base URL.
pub const PATH: &str = "/chat/completions";
