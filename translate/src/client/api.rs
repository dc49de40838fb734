//! The contract of a client API.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::client::first_event::FirstEvent;
use crate::client::stream::ClientStream;
use crate::client::tap::Tap;
use crate::error::{ApiError, AttemptSummary};
use crate::openai::response::Summary;

/// An API that clients use: its facts, and its translation into chat completions and back.
pub trait ClientApi: fmt::Debug + Sync {
    fn facts(&self) -> &'static ApiFacts;

    /// Returns the user that a request's `metadata` names, for an API without the field `user`.
    fn user<'a>(&self, _metadata: &'a RawValue) -> Option<Cow<'a, str>> {
        None
    }

    /// Translates a client's body into a chat completion request for a model; `None` if it already
    /// is one. `may_think` is set if the model may support a reasoning budget.
    fn to_chat(
        &self,
        body: &[u8],
        model: &str,
        may_think: bool,
    ) -> Result<Option<Vec<u8>>, ApiError>;

    /// Translates a chat completion into this API's answer to a client's body; `None` if it already
    /// is one.
    fn of_chat(&self, completion: &[u8], request: &[u8]) -> Result<Option<Vec<u8>>, ApiError>;

    /// Returns a translator from a stream of chunks into this API's events, for a client's body;
    /// `None` if its events are the chunks.
    fn stream(&self, request: &[u8]) -> Option<ClientStream>;

    /// Classifies the data of an event before a provider's stream in this API has begun. The data
    /// is not blank.
    fn first_event(&self, provider: &str, data: &[u8]) -> FirstEvent;

    /// Returns true if bytes of a stream in this API contain the end of a whole answer. Bytes that
    /// only look like it are rare, and count as the end.
    fn ends_in(&self, bytes: &[u8]) -> bool;

    /// Returns an observer of a stream in this API. `client_wants_usage` only matters for Chat
    /// Completions.
    fn tap(&self, client_wants_usage: bool) -> Tap;

    /// Parses an answer's body. An unreadable body gives an empty summary.
    fn summarize(&self, body: &[u8]) -> Summary;

    /// Parses a provider's body if one pass shows that it is an answer of this API. `None` leaves
    /// the question open.
    fn summarize_answer(&self, _body: &[u8]) -> Option<Summary> {
        None
    }

    /// Assembles a stream's events into the answer they make up.
    fn aggregate(&self, stream: &[u8]) -> Value;

    /// Serializes the body of an error response; `attempts` lists the attempts.
    fn error_json(&self, error: &ApiError, attempts: &[AttemptSummary]) -> Vec<u8> {
        error.to_json_with_attempts(attempts)
    }
}

/// The constants of a client API.
#[derive(Debug)]
pub struct ApiFacts {
    /// The name in traces and in the configuration.
    pub name: &'static str,
    /// The path at the gateway.
    pub path: &'static str,
    /// The number in gRPC and in the journal, as `Api` in `trace.proto`. `endpoint.rs` pins it.
    pub number: i32,
    pub conversation: Conversation,
    /// Set if a body may have `stream_options`.
    pub has_stream_options: bool,
    /// Members of which each answer has at least one.
    pub answer_members: &'static [&'static str],
    /// Set if an answer repeats parts of its request, so that the request must be kept.
    pub repeats_request: bool,
}

/// The field of a body that holds the conversation.
#[derive(Debug)]
pub struct Conversation {
    /// `messages` or `input`; another name also needs a field in `openai/envelope.rs`.
    pub field: &'static str,
    /// Set if it must be a list with at least one message.
    pub is_list: bool,
    /// The end of the error's sentence if the field is missing.
    pub hint: &'static str,
}

/// A client API of the registry.
#[derive(Clone, Copy)]
pub struct Api(&'static dyn ClientApi);

impl Api {
    pub const fn new(api: &'static dyn ClientApi) -> Self {
        Self(api)
    }

    /// Returns the name in traces.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// Returns the path at the gateway.
    pub fn path(self) -> &'static str {
        self.facts().path
    }

    /// Returns the field that holds the conversation.
    pub fn conversation_field(self) -> &'static str {
        self.facts().conversation.field
    }
}

impl Deref for Api {
    type Target = dyn ClientApi;

    fn deref(&self) -> &Self::Target {
        self.0
    }
}

impl PartialEq for Api {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Api {}

impl std::hash::Hash for Api {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Api {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
