//! Anthropic's Messages API, for its clients: mainly coding agents.
//!
//! Source: the types of Anthropic's own SDK (version 2.11) and its API reference, November 2026.

pub mod aggregate;
pub mod api;
mod blocks;
pub mod count;
pub mod error;
pub mod native;
pub mod request;
pub mod response;
pub mod stream;
mod summary;
mod tap;
