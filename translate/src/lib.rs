//! Translation between OpenAI's Chat Completions and the providers' wire formats.
//!
//! Bytes in, bytes out: no sockets, no clock, no proxy. The filter runs it on the byte path of a
//! completion, the control plane on recorded ones. Nothing here panics, whatever the input.
//!
//! A provider's wire format is one folder with an implementation of
//! [`WireFormat`](exchange::WireFormat) and one line in [`wire_format`]. An API that clients use is
//! one folder in [`client`] with an implementation of [`ClientApi`](client::ClientApi).
//! [`format`](mod@format) is the entry point to all of them. A provider with a known format is one
//! row in [`provider`].

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

pub mod access;
pub mod agent_paths;
pub mod anthropic;
pub mod attempt_error;
pub mod auth;
pub mod aws;
pub mod bedrock;
pub mod body;
pub mod client;
pub mod cohere;
pub mod cost;
pub mod embeddings;
pub mod endpoint;
pub mod error;
pub mod exchange;
pub mod format;
pub mod gemini;
pub mod hash;
pub mod internal_auth;
pub mod internal_hosts;
pub mod json;
pub mod model;
pub mod model_list;
pub mod multipart;
pub mod object;
pub mod openai;
pub mod provider;
pub mod provider_stream;
pub mod redact;
pub mod relay;
pub mod request_origin;
pub mod resources;
pub mod sse;
pub mod stream;
pub mod stream_error;
pub mod trace_context;
mod turns;
pub mod usage;
pub mod vertex;
pub mod wire_format;
