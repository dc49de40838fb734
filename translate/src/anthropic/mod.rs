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

/// Path after the base URL.
pub const PATH: &str = "/v1/messages";

/// Version of the API at Google, where it is sent in the body.
pub(crate) const VERTEX_VERSION: &str = "vertex-2023-10-16";

/// The platform that serves the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    Anthropic,
    /// The model is in the path, and the version in the body.
    Vertex,
}
