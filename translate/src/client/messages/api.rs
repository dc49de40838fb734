//! The Messages API as one of the clients' APIs.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::anthropic::error::from_event_data;
use crate::client::api::{ApiFacts, ClientApi, Conversation};
use crate::client::first_event::{self, FirstEvent};
use crate::client::messages::summary::MessageView;
use crate::client::messages::tap::{self, MessageEvents};
use crate::client::messages::{aggregate, error, request, response, stream};
use crate::client::stream::ClientStream;
use crate::client::tap::Tap;
use crate::error::{ApiError, AttemptSummary};
use crate::json;
use crate::openai::response::Summary;

#[derive(Debug)]
pub struct Messages;

static FACTS: ApiFacts = ApiFacts {
    name: "messages",
    path: "/v1/messages",
    number: 1,
    conversation: Conversation {
        field: "messages",
        is_list: true,
        hint: "send a list with at least one message",
    },
    has_stream_options: false,
    answer_members: &["content"],
    repeats_request: false,
};

impl ClientApi for Messages {
    fn facts(&self) -> &'static ApiFacts {
        &FACTS
    }

    fn user<'a>(&self, metadata: &'a RawValue) -> Option<Cow<'a, str>> {
        #[derive(Deserialize)]
        struct Metadata<'m> {
            #[serde(default, borrow)]
            user_id: Option<Cow<'m, str>>,
        }
        serde_json::from_str::<Metadata<'a>>(metadata.get())
            .ok()?
            .user_id
    }

    fn to_chat(
        &self,
        body: &[u8],
        model: &str,
        may_think: bool,
    ) -> Result<Option<Vec<u8>>, ApiError> {
        request::translate_request(body, model, may_think).map(Some)
    }

    fn of_chat(&self, completion: &[u8], _request: &[u8]) -> Result<Option<Vec<u8>>, ApiError> {
        response::translate_response(completion).map(Some)
    }

    fn stream(&self, _request: &[u8]) -> Option<ClientStream> {
        let writer = Box::<stream::EventWriter>::default();
        Some(ClientStream::new(writer))
    }

    fn first_event(&self, provider: &str, data: &[u8]) -> FirstEvent {
        match first_event::read_typed(provider, data) {
            Err(failure) => failure,
            Ok(event) => match event.kind.as_str() {
                "error" => FirstEvent::Failed(from_event_data(provider, data)),
                "ping" => FirstEvent::Nothing,
                _ => FirstEvent::Begun,
            },
        }
    }

    fn ends_in(&self, bytes: &[u8]) -> bool {
        tap::ends_in(bytes)
    }

    fn tap(&self, _client_wants_usage: bool) -> Tap {
        Tap::events(Box::<MessageEvents>::default())
    }

    fn summarize(&self, body: &[u8]) -> Summary {
        json::from_bytes::<MessageView<'_>>(body)
            .map(|view| view.summary())
            .unwrap_or_default()
    }

    fn aggregate(&self, stream: &[u8]) -> Value {
        aggregate::from_sse(stream)
    }

    fn error_json(&self, error: &ApiError, attempts: &[AttemptSummary]) -> Vec<u8> {
        error::to_json(error, attempts)
    }
}
