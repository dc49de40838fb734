//! Embeddings: translates OpenAI's request into a provider's, and its answer back.
//!
//! Sources: the providers' API references, November 2026.

pub mod answer;
pub mod format;
pub mod request;
mod translate;

pub use translate::{EmbeddingsTarget, translate_request, translate_response};
