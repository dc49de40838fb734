//! Anthropic's Messages API.
//!
//! Source: the types of Anthropic's own SDK (version 2.11) and its API reference, November 2026.

pub mod error;
pub mod model;
pub mod request;
pub mod response;
pub mod stream;
pub(crate) mod thinking;
mod tools;
mod turns;
pub(crate) mod usage;

/// What follows the base URL.
pub const PATH: &str = "/v1/messages";

/// Google's version of the API, which is named in the body there.
pub(crate) const VERTEX_VERSION: &str = "vertex-2023-10-16";

/// Who serves the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    Anthropic,
    /// The model is in the path, the version in the body.
    Vertex,
}
