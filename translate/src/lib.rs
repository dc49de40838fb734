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
//!
//! # Examples
//!
//! A chat completion by Anthropic: the request there, and the answer back.
//!
//! ```
//! use opentracy_translate::client::Api;
//! use opentracy_translate::exchange::{Origin, Target};
//! use opentracy_translate::format;
//! use opentracy_translate::openai::dialect;
//! use opentracy_translate::wire_format::Format;
//!
//! let request = br#"{"model": "claude-sonnet-4-5",
//!     "messages": [{"role": "user", "content": "Greet me."}]}"#;
//! let target = Target {
//!     format: Format::ANTHROPIC,
//!     model: "claude-sonnet-4-5",
//!     max_output_tokens: Some(1024),
//!     dialect: &dialect::OPENAI,
//!     auto_cache: false,
//!     serves_responses: false,
//! };
//! let outgoing = format::translate_request(Api::CHAT_COMPLETIONS, request, &target)?;
//! assert_eq!(outgoing.path, "/v1/messages");
//! let sent: serde_json::Value = serde_json::from_slice(&outgoing.body.unwrap()).unwrap();
//! assert_eq!(sent["max_tokens"], 1024);
//!
//! let answer = br#"{"id": "msg_1", "type": "message", "role": "assistant",
//!     "model": "claude-sonnet-4-5", "content": [{"type": "text", "text": "Hello!"}],
//!     "stop_reason": "end_turn", "usage": {"input_tokens": 9, "output_tokens": 2}}"#;
//! let origin = Origin {
//!     api: Api::CHAT_COMPLETIONS,
//!     format: Format::ANTHROPIC,
//!     is_native: target.speaks(Api::CHAT_COMPLETIONS),
//!     provider: "anthropic",
//!     model: "claude-sonnet-4-5",
//!     id: "1",
//!     created: 1_700_000_000,
//!     request,
//!     own_answers: false,
//! };
//! let completion = format::translate_response(answer, &origin)?.unwrap();
//! let completion: serde_json::Value = serde_json::from_slice(&completion).unwrap();
//! assert_eq!(completion["choices"][0]["message"]["content"], "Hello!");
//! # Ok::<(), opentracy_translate::error::ApiError>(())
//! ```
//!
//! A stream, which may arrive in pieces of any size:
//!
//! ```
//! use opentracy_translate::client::Api;
//! use opentracy_translate::exchange::Origin;
//! use opentracy_translate::format::StreamTranslator;
//! use opentracy_translate::wire_format::Format;
//!
//! let mut translator = StreamTranslator::new(&Origin {
//!     api: Api::CHAT_COMPLETIONS,
//!     format: Format::COHERE,
//!     is_native: false,
//!     provider: "cohere",
//!     model: "command-a-03-2025",
//!     id: "1",
//!     created: 1_700_000_000,
//!     request: b"{}",
//!     own_answers: false,
//! });
//! let events = [
//!     r#"{"type":"message-start","id":"1","delta":{"message":{"role":"assistant"}}}"#,
//!     r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"Hello!"}}}}"#,
//!     r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE"}}"#,
//! ];
//! let stream = events.map(|event| format!("data: {event}\n\n")).concat();
//! let mut chunks = Vec::new();
//! for piece in stream.as_bytes().chunks(10) {
//!     translator.push(piece, &mut chunks);
//! }
//! translator.finish(&mut chunks);
//! assert_eq!(translator.error(), None);
//! let chunks = String::from_utf8(chunks).unwrap();
//! assert!(chunks.contains(r#""content":"Hello!""#));
//! assert!(chunks.ends_with("data: [DONE]\n\n"));
//! ```

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
mod lenient;
pub mod management_paths;
pub mod model;
pub mod model_list;
pub mod multipart;
mod needle;
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
mod surrogates;
pub mod trace_context;
mod turns;
pub mod usage;
pub mod vertex;
pub mod wire_format;
