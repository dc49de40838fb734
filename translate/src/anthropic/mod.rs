//! Anthropic's Messages API.
//!
//! Source: the types of Anthropic's own SDK (version 2.11) and its API reference, November 2026.

pub mod error;
pub mod model;
pub mod request;
pub mod response;
pub mod stream;
mod tools;
mod turns;
mod usage;

/// What follows the base URL.
pub const PATH: &str = "/v1/messages";
