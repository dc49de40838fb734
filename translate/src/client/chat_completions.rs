//! OpenAI's Chat Completions, for its clients: the format into which all others are translated.

use serde_json::Value;

use crate::client::api::{ApiFacts, ClientApi, Conversation};
use crate::client::first_event::FirstEvent;
use crate::client::stream::ClientStream;
use crate::client::tap::Tap;
use crate::error::ApiError;
use crate::json;
use crate::object::Object;
use crate::openai::response::{Summary, View};
use crate::openai::tap::{self, StreamTap};
use crate::openai::{aggregate, error, response};
use crate::sse;
use crate::stream;

#[derive(Debug)]
pub struct ChatCompletions;

static FACTS: ApiFacts = ApiFacts {
    name: "chat_completions",
    path: "/v1/chat/completions",
    number: 0,
    conversation: Conversation {
        field: "messages",
        is_list: true,
        hint: "send a list with at least one message",
    },
    has_stream_options: true,
    answer_members: &["choices"],
    repeats_request: false,
};

impl ClientApi for ChatCompletions {
    fn facts(&self) -> &'static ApiFacts {
        &FACTS
    }

    fn to_chat(&self, _: &[u8], _: &str, _: bool) -> Result<Option<Vec<u8>>, ApiError> {
        Ok(None)
    }

    fn of_chat(&self, _: &[u8], _: &[u8]) -> Result<Option<Vec<u8>>, ApiError> {
        Ok(None)
    }

    fn stream(&self, _: &[u8]) -> Option<ClientStream> {
        None
    }

    fn first_event(&self, provider: &str, data: &[u8]) -> FirstEvent {
        let data = data.trim_ascii();
        match error::from_event(provider, data) {
            Some(error) => FirstEvent::Failed(error),
            None if data == sse::DONE => FirstEvent::Failed(ApiError::incomplete_stream(provider)),
            None if is_readable(data) => FirstEvent::Begun,
            None => FirstEvent::Failed(ApiError::unreadable_answer(provider)),
        }
    }

    fn ends_in(&self, bytes: &[u8]) -> bool {
        tap::ends_in(bytes)
    }

    fn tap(&self, client_wants_usage: bool) -> Tap {
        Tap::Chunks(StreamTap::new(client_wants_usage))
    }

    fn summarize(&self, body: &[u8]) -> Summary {
        response::summarize(body)
    }

    fn summarize_answer(&self, body: &[u8]) -> Option<Summary> {
        response::summarize_answer(body)
    }

    fn aggregate(&self, stream: &[u8]) -> Value {
        aggregate::from_sse(stream)
    }
}

/// Returns true if an event's data is a JSON object and, if it has choices, a chunk.
fn is_readable(data: &[u8]) -> bool {
    let has_choices = |event: &Object<'_>| stream::has_member(event, "choices");
    data.starts_with(b"{")
        && (json::from_bytes::<View<'_>>(data).is_ok()
            || stream::broken_event(data, &has_choices).is_none())
}
