//! Anthropic's Messages API.
//!
//! Source: the types of Anthropic's own SDK (version 2.11) and its API reference, November 2026.

pub mod error;
pub mod format;
pub mod model;
pub(crate) mod platform;
pub mod request;
pub mod response;
pub mod stream;
pub(crate) mod thinking;
mod tools;
mod turns;
pub(crate) mod usage;

pub use platform::Platform;

/// Path after the base URL.
pub const PATH: &str = "/v1/messages";
