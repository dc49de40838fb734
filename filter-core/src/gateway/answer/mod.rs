//! The answer to a call: a body or a stream in the client's API, an error, or Envoy's own reply.

mod body;
mod callbacks;
mod error;
mod finish;
mod guard;
mod local;
mod state;
mod streaming;

pub use state::ClientAnswer;
