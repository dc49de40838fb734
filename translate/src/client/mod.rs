//! The clients' APIs, and their translation for providers with another API.
//!
//! OpenAI's chat completion is the intermediate format between a client's API and a provider's: a
//! request is translated into one and from there for the provider, an answer the other way. If the
//! provider speaks the client's own API, both are passed through unchanged.
//!
//! An API implements [`ClientApi`] in a folder of its own, and is one line in `registry.rs`.

pub mod answer;
pub mod api;
pub(crate) mod calls;
pub mod chat;
pub mod chat_completions;
pub(crate) mod events;
pub mod first_event;
mod history;
pub mod messages;
mod registry;
pub mod responses;
pub mod stream;
pub mod tap;
pub mod thoughts;

pub use api::{Api, ApiFacts, ClientApi};
