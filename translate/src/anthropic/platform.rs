//! The platforms that serve Anthropic's models in Anthropic's format.

/// Version of the API at Google, where it is sent in the body.
pub(crate) const VERTEX_VERSION: &str = "vertex-2023-10-16";

/// The platform that serves the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    Anthropic,
    /// The model is in the path, and the version in the body.
    Vertex,
}
