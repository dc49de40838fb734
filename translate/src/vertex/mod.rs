//! Google's Vertex AI: Gemini in its own format, Claude in Anthropic's, each at its publisher's
//! path.
//!
//! Source: Vertex AI's REST reference and Anthropic's "Claude on Vertex AI", November 2026.

pub(crate) mod embeddings;
pub mod format;
mod path;
