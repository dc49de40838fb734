//! What comes back: a body or a stream in OpenAI's format, an error, or Envoy's own reply.

use std::borrow::Cow;

use opentracy_proto::v1;
use opentracy_translate::error::{ApiError, AttemptSummary};
use opentracy_translate::json;
use opentracy_translate::openai::error as openai_error;
use opentracy_translate::openai::response::{self, Summary};
use opentracy_translate::openai::tap::{Output, StreamTap};
use opentracy_translate::provider::Format;
use proxy_wasm::types::Action;

use crate::gateway::call::{Call, End};
use crate::gateway::json_headers;
use crate::headers::{self, HeaderList};
use crate::plan::LoggedAttempt;
use crate::{failure, host, upstream};

#[derive(Default)]
pub struct Answer {
    status: u16,
    state: State,
    error: Option<ApiError>,
    summary: Summary,
    /// What the client got.
    content: Vec<u8>,
    is_complete: bool,
}

#[derive(Default)]
enum State {
    #[default]
    Waiting,
    /// A body is held until it is whole.
    Holding {
        headers: HeaderList,
        source: Source,
    },
    Streaming(Box<StreamTap>),
    Over,
}

/// Who made a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A provider, directly: its errors are still in its own words.
    Provider,
    /// The provider stage: all is in OpenAI's format.
    ProviderStage,
    /// Envoy itself, for want of a provider's answer.
    Envoy,
}

impl Answer {
    /// Answers a request that can't be sent anywhere.
    pub fn refuse(call: &Call, error: &ApiError) -> Self {
        let mut headers = json_headers();
        call.add_headers(&mut headers);
        if error.status == 503 {
            headers.push("retry-after", "1");
        }
        let content = error.to_json();
        host::reply(error.status, &headers, &content);
        Self {
            status: error.status,
            state: State::Over,
            error: Some(error.clone()),
            content,
            is_complete: true,
            ..Self::default()
        }
    }

    pub fn on_headers(&mut self, call: &mut Call, end_of_stream: bool) -> Action {
        if !matches!(self.state, State::Waiting) {
            return Action::Continue;
        }
        let mut headers = host::response_headers();
        self.status = headers.status();
        let source = note_attempts(call, &headers, self.status);
        headers.retain(|name| !headers::is_providers_own(name));
        if headers.is_event_stream() && self.status == 200 {
            if call.has_tools {
                call.session_for_tools();
            }
            call.add_headers(&mut headers);
            host::set_response_headers(&headers);
            self.state = State::Streaming(Box::new(StreamTap::new(call.include_usage)));
            return Action::Continue;
        }
        if end_of_stream {
            // There is no body to put a word in, so the answer is made anew.
            let body = self.answer(call, &mut headers, source, Vec::new());
            headers.retain(|name| !name.starts_with(':') && name != "content-length");
            self.state = State::Over;
            host::reply(self.status, &headers, &body);
            self.content = body;
            self.is_complete = true;
            return Action::Pause;
        }
        self.state = State::Holding { headers, source };
        Action::Pause
    }

    pub fn on_body(&mut self, call: &mut Call, end_of_stream: bool) -> Action {
        match &mut self.state {
            State::Holding { .. } => {
                call.time_to_first_token_micros
                    .get_or_insert_with(|| call.started.elapsed_micros());
                if end_of_stream {
                    self.finish_body(call)
                } else {
                    Action::Pause
                }
            }
            State::Streaming(_) => {
                self.on_chunk(call, end_of_stream);
                Action::Continue
            }
            State::Waiting | State::Over => Action::Continue,
        }
    }

    pub fn on_trailers(&mut self, call: &mut Call) -> Action {
        match self.state {
            State::Holding { .. } => self.finish_body(call),
            _ => Action::Continue,
        }
    }

    fn finish_body(&mut self, call: &mut Call) -> Action {
        let State::Holding {
            mut headers,
            source,
        } = std::mem::replace(&mut self.state, State::Over)
        else {
            return Action::Continue;
        };
        let body = self.answer(call, &mut headers, source, host::response_body(0));
        host::set_response_headers(&headers);
        host::set_response_body(&body);
        self.content = body;
        self.is_complete = true;
        Action::Continue
    }

    /// The body for the client, and the headers that go with it.
    fn answer(
        &mut self,
        call: &mut Call,
        headers: &mut HeaderList,
        source: Source,
        body: Vec<u8>,
    ) -> Vec<u8> {
        let read = match source {
            Source::Provider => {
                let provider = call.selected.as_ref().map_or("", |(provider, _)| provider);
                upstream::read_answer(Format::OpenAi, provider, self.status, &body, 0).map(|_| ())
            }
            Source::ProviderStage if self.status < 400 => Ok(()),
            Source::ProviderStage if body.is_empty() => {
                // A reply without a body can't be given one by the stage that translates it.
                let provider = call.selected.as_ref().map_or("", |(provider, _)| provider);
                Err(ApiError::from_provider(provider, self.status, ""))
            }
            Source::ProviderStage => Err(read_own_error(self.status, &body)),
            Source::Envoy => {
                let provider = call
                    .selected
                    .as_ref()
                    .map_or("The provider", |(name, _)| name);
                Err(failure::of_envoy_reply(provider, &host::response_details()).0)
            }
        };
        let body = match read {
            Ok(()) => {
                self.summary = response::summarize(&body);
                if self.summary.calls_tools {
                    call.session_for_tools();
                }
                let mut body = body;
                json::append_members(&mut body, &call.extras(&self.summary));
                body
            }
            Err(error) => {
                self.status = error.status;
                headers.set(":status", error.status.to_string());
                headers.set("content-type", "application/json");
                if source == Source::Provider
                    && let Some(attempt) = call.attempts.first_mut()
                {
                    attempt.error = Some(failure::word_of_status(error.status).into());
                }
                let body = error.to_json_with_attempts(&call.attempts);
                self.error = Some(error);
                body
            }
        };
        call.add_headers(headers);
        headers.push("content-length", body.len().to_string());
        body
    }

    fn on_chunk(&mut self, call: &mut Call, end_of_stream: bool) {
        let State::Streaming(tap) = &mut self.state else {
            return;
        };
        let chunk = host::response_body(0);
        if !chunk.is_empty() {
            call.time_to_first_token_micros
                .get_or_insert_with(|| call.started.elapsed_micros());
        }
        let mut extras = |summary: &Summary| call.extras(summary);
        let mut replaced = match tap.push(&chunk, &mut extras) {
            Output::Unchanged => None,
            Output::Replaced(bytes) => Some(bytes),
        };
        if end_of_stream {
            let end = tap.finish(&mut extras);
            if !end.is_empty() {
                replaced.get_or_insert_with(|| chunk.clone()).extend(end);
            }
            self.is_complete = true;
        }
        match replaced {
            None => self.content.extend(chunk),
            Some(bytes) => {
                host::set_response_body(&bytes);
                self.content.extend(bytes);
            }
        }
    }

    /// The stream of the client is over, one way or another.
    pub fn finish(mut self, call: Call) {
        let is_event_stream = matches!(self.state, State::Streaming(_));
        let mut broke_off = false;
        if let State::Streaming(tap) = self.state {
            self.summary = tap.summary().clone();
            self.error = tap.error().cloned();
            self.is_complete |= tap.is_over();
            broke_off = self.error.is_some();
        }
        let details = if self.is_complete {
            String::new()
        } else {
            host::response_details()
        };
        let outcome = if broke_off {
            v1::Outcome::UpstreamBrokeOff
        } else if self.is_complete {
            v1::Outcome::Completed
        } else if details.contains("downstream") {
            v1::Outcome::ClientDisconnected
        } else {
            v1::Outcome::UpstreamBrokeOff
        };
        if outcome == v1::Outcome::UpstreamBrokeOff && self.error.is_none() {
            let message = format!("The provider's stream broke off: {details}");
            self.error = Some(ApiError::new(502, message).with_code("incomplete_stream"));
        }
        call.record(End {
            outcome,
            status: self.status,
            error: self.error,
            summary: self.summary,
            response: self.content,
            is_event_stream,
        });
    }
}

/// Notes who was tried, from whoever knows, and tells who made the response.
fn note_attempts(call: &mut Call, headers: &HeaderList, status: u16) -> Source {
    let log = headers
        .get(headers::ATTEMPT_LOG)
        .filter(|_| !call.is_edited_here)
        .and_then(|text| serde_json::from_str::<Vec<LoggedAttempt>>(text).ok());
    if let Some(log) = log {
        call.note_log(log);
        return Source::ProviderStage;
    }
    let details = host::response_details();
    let candidate = call.plan.first().filter(|_| call.is_edited_here);
    match candidate {
        Some(candidate) if details == "via_upstream" => {
            let attempt = AttemptSummary {
                provider: candidate.provider.name.clone(),
                model: candidate.model.clone(),
                status: Some(status),
                error: (status >= 400).then(|| Cow::Borrowed(failure::word_of_status(status))),
                latency_ms: Some(call.started.elapsed_micros() / 1000),
            };
            call.note_attempts(vec![attempt]);
            Source::Provider
        }
        _ => {
            call.note_silence(failure::of_envoy_reply("", &details).1);
            Source::Envoy
        }
    }
}

/// An error that the provider stage has already put in OpenAI's words.
fn read_own_error(status: u16, body: &[u8]) -> ApiError {
    let details = openai_error::read(body);
    ApiError {
        code: details.code.map(Cow::Owned),
        param: details.param,
        ..ApiError::new(status, details.message)
    }
}
