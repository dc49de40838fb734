//! Passthrough calls, which reach a provider nearly unchanged: every endpoint that isn't about a
//! conversation.
//!
//! [`resolve`] finds the destination, [`send`] builds the request, [`response`] handles the
//! answer, and [`record`] becomes the trace. Streamed bodies aren't buffered: file uploads and
//! speech pass chunk by chunk.

mod held_answer;
mod ownership;
mod record;
mod request;
mod resolve;
mod response;
mod send;
mod state;
mod target;

pub use state::Passthrough;
