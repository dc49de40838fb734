//! Google's Gemini API: `generateContent` and `streamGenerateContent`.
//!
//! Source: Gemini API reference and the types of Google's SDK, November 2026.

pub(crate) mod embeddings;
pub mod error;
pub mod format;
mod logprobs;
mod parts;
pub mod request;
pub mod response;
pub mod stream;
mod usage;

/// Returns the path after the base URL.
pub fn path(model: &str, stream: bool) -> String {
    let model = crate::model::encode_in_path(model);
    if stream {
        format!("/models/{model}:streamGenerateContent?alt=sse")
    } else {
        format!("/models/{model}:generateContent")
    }
}
