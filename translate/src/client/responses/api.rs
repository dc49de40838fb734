//! The Responses API as one of the clients' APIs.

use serde_json::Value;

use crate::client::api::{ApiFacts, ClientApi, Conversation};
use crate::client::first_event::{self, FirstEvent};
use crate::client::responses::summary::ResponseView;
use crate::client::responses::tap::{self, ResponseEvents};
use crate::client::responses::{aggregate, request, response, stream};
use crate::client::stream::ClientStream;
use crate::client::tap::Tap;
use crate::error::ApiError;
use crate::json;
use crate::openai::error;
use crate::openai::response::Summary;

#[derive(Debug)]
pub struct Responses;

static FACTS: ApiFacts = ApiFacts {
    name: "responses",
    path: "/v1/responses",
    number: 2,
    conversation: Conversation {
        field: "input",
        is_list: false,
        hint: "send a text or a list of items",
    },
    has_stream_options: false,
    // A background response has no output yet.
    answer_members: &["output", "status"],
    repeats_request: true,
};

impl ClientApi for Responses {
    fn facts(&self) -> &'static ApiFacts {
        &FACTS
    }

    fn to_chat(
        &self,
        body: &[u8],
        model: &str,
        _may_think: bool,
    ) -> Result<Option<Vec<u8>>, ApiError> {
        request::translate_request(body, model).map(Some)
    }

    fn of_chat(&self, completion: &[u8], request: &[u8]) -> Result<Option<Vec<u8>>, ApiError> {
        response::translate_response(completion, request).map(Some)
    }

    fn stream(&self, request: &[u8]) -> Option<ClientStream> {
        let writer = Box::new(stream::EventWriter::new(request));
        Some(ClientStream::new(writer))
    }

    fn first_event(&self, provider: &str, data: &[u8]) -> FirstEvent {
        let event = match first_event::read_typed(provider, data) {
            Ok(event) => event,
            Err(failure) => return failure,
        };
        match event.kind.as_str() {
            "ping" => FirstEvent::Nothing,
            "error" => FirstEvent::Failed(
                error::from_event(provider, data)
                    .unwrap_or_else(|| error::from_reply(provider, 502, data)),
            ),
            "response.failed" => FirstEvent::Failed(
                error::from_event(provider, event.response.to_string().as_bytes())
                    .unwrap_or_else(|| ApiError::from_provider(provider, 502, "")),
            ),
            _ => FirstEvent::Begun,
        }
    }

    fn ends_in(&self, bytes: &[u8]) -> bool {
        tap::ends_in(bytes)
    }

    fn tap(&self, _client_wants_usage: bool) -> Tap {
        Tap::events(Box::new(ResponseEvents))
    }

    fn summarize(&self, body: &[u8]) -> Summary {
        json::from_bytes::<ResponseView<'_>>(body)
            .map(|view| view.summary())
            .unwrap_or_default()
    }

    fn aggregate(&self, stream: &[u8]) -> Value {
        aggregate::from_sse(stream)
    }
}
