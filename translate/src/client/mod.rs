//! The clients' APIs, and their translation for providers with another API.
//!
//! OpenAI's chat completion is the intermediate format between a client's API and a provider's: a
//! request is translated into one and from there for the provider, an answer the other way. If the
//! provider speaks the client's own API, both are passed through unchanged.

pub mod answer;
pub mod chat;
pub mod messages;
pub mod responses;
pub mod stream;
pub mod summary;
pub mod tap;
pub mod thoughts;

use serde::{Deserialize, Serialize};

use crate::client::stream::ClientStream;
use crate::error::{ApiError, AttemptSummary};

/// An API that clients use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// OpenAI's Chat Completions.
    #[default]
    ChatCompletions,
    /// Anthropic's Messages.
    Messages,
    /// OpenAI's Responses.
    Responses,
}

impl Api {
    pub const ALL: [Self; 3] = [Self::ChatCompletions, Self::Messages, Self::Responses];

    /// Returns the path at the gateway.
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Messages => "/v1/messages",
            Self::Responses => "/v1/responses",
        }
    }

    /// Returns the name in traces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Messages => "messages",
            Self::Responses => "responses",
        }
    }

    /// Returns the API of a path.
    pub fn at(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|api| api.path() == path)
    }

    /// Returns the field that holds the conversation.
    pub const fn conversation_field(self) -> &'static str {
        match self {
            Self::ChatCompletions | Self::Messages => "messages",
            Self::Responses => "input",
        }
    }

    /// Translates a client's body into a chat completion request for a model. `may_think` is set if
    /// the model may support a reasoning budget.
    pub fn to_chat(self, body: &[u8], model: &str, may_think: bool) -> Result<Vec<u8>, ApiError> {
        match self {
            Self::ChatCompletions => Ok(body.to_vec()),
            Self::Messages => messages::request::translate_request(body, model, may_think),
            Self::Responses => responses::request::translate_request(body, model),
        }
    }

    /// Translates a chat completion into this API's answer to a client's body. Returns `None` if
    /// this API is Chat Completions.
    pub fn of_chat(self, completion: &[u8], request: &[u8]) -> Result<Option<Vec<u8>>, ApiError> {
        match self {
            Self::ChatCompletions => Ok(None),
            Self::Messages => messages::response::translate_response(completion).map(Some),
            Self::Responses => {
                responses::response::translate_response(completion, request).map(Some)
            }
        }
    }

    /// Serializes the body of an error response; `attempts` lists the attempts.
    pub fn error_json(self, error: &ApiError, attempts: &[AttemptSummary]) -> Vec<u8> {
        match self {
            Self::ChatCompletions | Self::Responses => error.to_json_with_attempts(attempts),
            Self::Messages => messages::error::to_json(error, attempts),
        }
    }

    /// Assembles a stream's events into the answer they make up.
    pub fn aggregate(self, stream: &[u8]) -> serde_json::Value {
        match self {
            Self::ChatCompletions => crate::openai::aggregate::from_sse(stream),
            Self::Messages => messages::aggregate::from_sse(stream),
            Self::Responses => responses::aggregate::from_sse(stream),
        }
    }

    /// Returns a translator from a stream of chunks into this API's events, for a client's body.
    pub fn stream(self, request: &[u8]) -> Option<ClientStream> {
        let writer: Box<dyn stream::Writer> = match self {
            Self::ChatCompletions => return None,
            Self::Messages => Box::<messages::stream::EventWriter>::default(),
            Self::Responses => Box::new(responses::stream::EventWriter::new(request)),
        };
        Some(ClientStream::new(writer))
    }
}

/// Calls `on_data` with the data of each event.
pub(crate) fn each_data(events: &[u8], mut on_data: impl FnMut(&[u8])) {
    let mut parser = crate::sse::Parser::default();
    // Our translators never write an event that is too long for the parser.
    let _ = parser.push(events, |event| {
        if let Some(data) = event.data() {
            on_data(&data);
        }
    });
}

/// Writes an event whose name is also its `type`, as in both APIs. `members` is `"a":1`, without
/// braces.
pub(crate) fn write_event(kind: &str, members: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\ndata: {\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.push(b'"');
    for member in members {
        out.extend_from_slice(member);
    }
    out.extend_from_slice(b"}\n\n");
}
