//! Anthropic's Messages API.
//!
//! Source: the types of Anthropic's own SDK (version 2.11) and its API reference, November 2026.

pub mod error;
pub mod format;
pub(crate) mod host;
pub mod model;
pub mod request;
pub mod response;
pub mod stream;
pub(crate) mod thinking;
mod tools;
mod turns;
pub(crate) mod usage;

pub use host::Host;

/// Path after the base URL.
pub const PATH: &str = "/v1/messages";
