//! OpenAI's Responses API, for clients that speak it.
//!
//! The gateway keeps no responses: what a client says of an earlier one by its id can be said to a provider that keeps them, and is
//! refused for every other.
//!
//! Source: the types of OpenAI's own SDK (version 3.52) and its API reference, November 2026.

pub mod aggregate;
pub mod error;
mod item;
mod items;
pub mod native;
pub mod request;
pub mod response;
pub mod stream;

/// What follows a provider's base URL.
pub const PATH: &str = "/responses";

/// What the ids of reasoning items begin with that are ours: nobody keeps them.
pub(crate) const REASONING_ID: &str = "rs_opentracy_";
