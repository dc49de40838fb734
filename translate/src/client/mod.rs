//! The APIs that clients speak, and what becomes of them where a provider speaks another.
//!
//! Between a client's API and a provider's format stands OpenAI's chat completion: a request is translated into one and from there
//! for the provider, an answer the other way. Where the provider speaks the client's API itself, both pass as they are.

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

/// What a client speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// OpenAI's chat completions.
    #[default]
    ChatCompletions,
    /// Anthropic's Messages.
    Messages,
    /// OpenAI's Responses.
    Responses,
}

impl Api {
    pub const ALL: [Self; 3] = [Self::ChatCompletions, Self::Messages, Self::Responses];

    /// Where the gateway serves it.
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Messages => "/v1/messages",
            Self::Responses => "/v1/responses",
        }
    }

    /// Its name in traces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Messages => "messages",
            Self::Responses => "responses",
        }
    }

    /// The API behind a path of the gateway.
    pub fn at(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|api| api.path() == path)
    }

    /// The field that holds the conversation.
    pub const fn conversation_field(self) -> &'static str {
        match self {
            Self::ChatCompletions | Self::Messages => "messages",
            Self::Responses => "input",
        }
    }

    /// A client's body as a chat completion request for a model. `may_think` tells whether the model can be given room to think.
    pub fn to_chat(self, body: &[u8], model: &str, may_think: bool) -> Result<Vec<u8>, ApiError> {
        match self {
            Self::ChatCompletions => Ok(body.to_vec()),
            Self::Messages => messages::request::translate(body, model, may_think),
            Self::Responses => responses::request::translate(body, model),
        }
    }

    /// A chat completion as this API's answer to a client's body. `None` where it is one.
    pub fn of_chat(self, completion: &[u8], request: &[u8]) -> Result<Option<Vec<u8>>, ApiError> {
        match self {
            Self::ChatCompletions => Ok(None),
            Self::Messages => messages::response::translate(completion).map(Some),
            Self::Responses => responses::response::translate(completion, request).map(Some),
        }
    }

    /// The body of an error reply; `attempts` tells what was tried.
    pub fn error_json(self, error: &ApiError, attempts: &[AttemptSummary]) -> Vec<u8> {
        match self {
            Self::ChatCompletions | Self::Responses => error.to_json_with_attempts(attempts),
            Self::Messages => messages::error::to_json(error, attempts),
        }
    }

    /// Puts a stream's events together to the answer they make.
    pub fn aggregate(self, stream: &[u8]) -> serde_json::Value {
        match self {
            Self::ChatCompletions => crate::openai::aggregate::from_sse(stream),
            Self::Messages => messages::aggregate::from_sse(stream),
            Self::Responses => responses::aggregate::from_sse(stream),
        }
    }

    /// Translates a stream of chunks into this API's events, for a client's body.
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
    // What a translator wrote is never too long for the parser.
    let _ = parser.push(events, |event| {
        if let Some(data) = event.data() {
            on_data(&data);
        }
    });
}

/// Writes an event whose name is its `type` too, as both APIs have it. `members` is `"a":1`, without braces.
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
