//! Cohere's chat API, version 2.
//!
//! Source: the types of Cohere's own SDK (version 7.3) and its API reference, November 2026.

pub(crate) mod embeddings;
pub mod format;
mod logprobs;
mod messages;
pub mod request;
pub mod response;
pub mod stream;
mod usage;

/// Path after the base URL.
pub const PATH: &str = "/v2/chat";
