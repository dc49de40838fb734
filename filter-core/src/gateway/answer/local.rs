//! Answers that no provider is asked for: refusals, and answers from the cache.

use opentracy_translate::error::ApiError;
use opentracy_translate::json;
use opentracy_translate::openai::response::Summary;
use opentracy_translate::openai::tap::Output;

use super::state::{ClientAnswer, State};
use crate::gateway::cache::CachedAnswer;
use crate::gateway::call::ClientCall;
use crate::headers::{self, HeaderList};
use crate::host::Host;

impl ClientAnswer {
    /// Answers a request that can't be sent.
    pub fn refuse(host: &impl Host, call: &ClientCall, error: &ApiError) -> Self {
        let mut headers = headers::json();
        call.add_headers(host, &mut headers);
        match error.retry_after {
            Some(seconds) => headers.set("retry-after", seconds.to_string()),
            None if error.status == 503 => headers.push("retry-after", "1"),
            None => {}
        }
        let content = call.api.error_json(error, &call.attempts);
        host.reply(error.status, &headers, &content);
        Self {
            status: error.status,
            state: State::Over,
            error: Some(error.clone()),
            content,
            is_complete: true,
            ..Self::default()
        }
    }

    /// Answers a call from the cache.
    pub fn repeat(host: &impl Host, call: &mut ClientCall, cached: CachedAnswer) -> Self {
        call.is_cached = true;
        call.cache_key = None;
        call.selected = Some((cached.provider, cached.model));
        call.trace.note_first_byte(host);
        let mut answer = Self {
            status: 200,
            state: State::Over,
            is_complete: true,
            ..Self::default()
        };
        let mut headers = HeaderList::default();
        if cached.is_event_stream {
            headers.push("content-type", headers::EVENT_STREAM);
            let mut tap = call.api.tap(call.include_usage);
            let mut extras = |summary: &Summary| call.extras(host, summary);
            answer.content = match tap.push(&cached.body, &mut extras) {
                Output::Unchanged => cached.body,
                Output::Replaced(bytes) => bytes,
            };
            answer.content.extend(tap.finish(&mut extras));
            answer.summary = tap.summary().clone();
            answer.is_event_stream = true;
        } else {
            headers.push("content-type", "application/json");
            answer.content = cached.body;
            answer.summary = call.api.summarize(&answer.content);
            json::append_members(&mut answer.content, &call.extras(host, &answer.summary));
        }
        call.add_headers(host, &mut headers);
        host.reply(200, &headers, &answer.content);
        answer
    }
}
