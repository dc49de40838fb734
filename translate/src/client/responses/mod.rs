//! OpenAI's Responses API, for its clients.
//!
//! The gateway stores no responses: a reference to an earlier one by its id works only with a
//! provider that stores them, and is rejected for all others.
//!
//! Source: the types of OpenAI's own SDK (version 3.52) and its API reference, November 2026.

pub mod aggregate;
pub mod api;
pub mod error;
mod item;
mod items;
pub mod native;
pub mod request;
pub mod response;
pub mod stream;
mod summary;
mod tap;

/// Path after a provider's base URL.
pub const PATH: &str = "/responses";

/// Prefix of the ids we generate for reasoning items; they aren't stored.
pub(crate) const REASONING_ID: &str = "rs_opentracy_";
