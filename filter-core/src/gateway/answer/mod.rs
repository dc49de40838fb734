//! The answer to a call: a body or a stream in the client's API, an error, or Envoy's own reply.

mod finish;
mod streaming;

use std::borrow::Cow;

use opentracy_translate::attempt_error::AttemptError;
use opentracy_translate::client::tap::Tap;
use opentracy_translate::error::{ApiError, AttemptSummary};
use opentracy_translate::format::StreamTranslator;
use opentracy_translate::json;
use opentracy_translate::openai::error as openai_error;
use opentracy_translate::openai::response::Summary;
use opentracy_translate::openai::tap::Output;

use crate::deadline::Deadline;
use crate::gateway::cache::CachedAnswer;
use crate::gateway::call::ClientCall;
use crate::headers::{self, HeaderList};
use crate::host::{Action, Host};
use crate::plan::LoggedAttempt;
use crate::stream_prelude::{self, StreamPrelude};
use crate::{events, failure, memory, upstream};

#[derive(Default)]
pub struct ClientAnswer {
    status: u16,
    state: State,
    error: Option<ApiError>,
    summary: Summary,
    /// The bytes that the client got, for the trace.
    content: Vec<u8>,
    /// The answer before call data was added, for the cache.
    kept: Vec<u8>,
    is_complete: bool,
    is_event_stream: bool,
    /// Bytes of a body that Envoy buffers.
    buffered: usize,
    /// The time by which the provider has to send more, unless the provider stage watches it.
    deadline: Deadline,
}

#[derive(Default)]
enum State {
    #[default]
    Waiting,
    /// Buffers a body until it is complete.
    Holding {
        headers: HeaderList<'static>,
        source: Source,
    },
    /// Buffers a provider's stream until it has begun.
    Prelude(StreamPrelude),
    Streaming(Box<Stream>),
    Over,
}

struct Stream {
    /// Set if no provider stage has translated the stream.
    translator: Option<Box<StreamTranslator>>,
    tap: Tap,
}

/// The origin of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The provider itself, in its own format.
    Provider,
    /// The provider stage: answers are in the client's API, errors in OpenAI's format.
    ProviderStage,
    /// Envoy itself, because the provider gave no answer.
    Envoy,
}

impl ClientAnswer {
    /// Returns the state for a call whose request was just sent.
    pub fn awaited(host: &impl Host, call: &ClientCall) -> Self {
        Self {
            deadline: call
                .timeout
                .map(|timeout| Deadline::after(host, timeout))
                .unwrap_or_default(),
            ..Self::default()
        }
    }

    /// Answers a request that can't be sent.
    pub fn refuse(host: &impl Host, call: &ClientCall, error: &ApiError) -> Self {
        let mut headers = headers::json();
        call.add_headers(host, &mut headers);
        match error.retry_after {
            Some(seconds) => headers.set("retry-after", seconds.to_string()),
            None if error.status == 503 => headers.push("retry-after", "1"),
            None => {}
        }
        let content = call.api.error_json(error, &[]);
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

    pub fn deadline(&mut self) -> &mut Deadline {
        &mut self.deadline
    }

    /// Ends a call whose provider timed out: with an error reply, or by closing the client's stream
    /// if it has begun.
    pub fn on_deadline(&mut self, host: &impl Host, call: &mut ClientCall) {
        match &self.state {
            State::Over => {}
            State::Streaming(_) => {
                let (mut error, reason) = timeout_error(call);
                error.message.push_str(": its stream paused for too long");
                self.error = Some(error);
                if let Some(attempt) = call.attempts.last_mut() {
                    attempt.error = Some(reason);
                    // It was reported as a success when its stream began.
                    events::on_attempt(host, attempt);
                }
                host.close_response();
            }
            State::Waiting | State::Holding { .. } | State::Prelude(..) => {
                let (error, reason) = timeout_error(call);
                call.note_silence(host, reason);
                let mut headers = headers::json();
                let body = self.answer_error(host, call, &mut headers, error);
                call.add_headers(host, &mut headers);
                headers.retain(|name| !name.starts_with(':'));
                host.reply(self.status, &headers, &body);
                self.content = body;
                self.is_complete = true;
                self.state = State::Over;
            }
        }
    }

    pub fn on_headers(
        &mut self,
        host: &impl Host,
        call: &mut ClientCall,
        end_of_stream: bool,
    ) -> Action {
        if !matches!(self.state, State::Waiting) {
            return Action::Continue;
        }
        let mut headers = host.response_headers();
        self.status = headers.status();
        let source = note_attempts(host, call, &headers, self.status);
        headers.retain(|name| !headers::is_providers_own(name));
        headers.mask(&call.key_mask(), self.status >= 400);
        if stream_prelude::is_stream(&headers, end_of_stream) {
            if source == Source::ProviderStage {
                self.begin_stream(host, call, headers, None);
                return Action::Continue;
            }
            if let Some(origin) = call.origin() {
                self.state = State::Prelude(StreamPrelude::new(headers, &origin));
                return Action::Pause;
            }
        }
        if end_of_stream {
            // Envoy can't add a body to a response without one, so a new response is sent instead.
            let body = self.answer(host, call, &mut headers, source, Ok(Vec::new()));
            headers.retain(|name| !name.starts_with(':') && name != "content-length");
            self.state = State::Over;
            host.reply(self.status, &headers, &body);
            self.content = body;
            self.is_complete = true;
            return Action::Pause;
        }
        self.state = State::Holding { headers, source };
        Action::Pause
    }

    /// Handles more of the body; `size` bytes of it are buffered.
    pub fn on_body(
        &mut self,
        host: &impl Host,
        call: &mut ClientCall,
        size: usize,
        end_of_stream: bool,
    ) -> Action {
        match &mut self.state {
            State::Holding { .. } => {
                call.trace.note_first_byte(host);
                self.buffered = size;
                if end_of_stream {
                    self.finish_body(host, call)
                } else {
                    Action::Pause
                }
            }
            State::Prelude(..) => self.on_prelude(host, call, end_of_stream),
            State::Streaming(_) => {
                self.on_chunk(host, call, end_of_stream);
                Action::Continue
            }
            State::Waiting | State::Over => Action::Continue,
        }
    }

    pub fn on_trailers(&mut self, host: &impl Host, call: &mut ClientCall) -> Action {
        match self.state {
            State::Holding { .. } => self.finish_body(host, call),
            _ => Action::Continue,
        }
    }

    fn finish_body(&mut self, host: &impl Host, call: &mut ClientCall) -> Action {
        let State::Holding {
            mut headers,
            source,
        } = std::mem::replace(&mut self.state, State::Over)
        else {
            return Action::Continue;
        };
        let body = memory::response_body(host, self.buffered);
        if body.is_err()
            && let Some(attempt) = call.attempts.last_mut()
        {
            // Not the model's fault.
            attempt.error = Some(AttemptError::RefusedByGateway);
        }
        let body = self.answer(host, call, &mut headers, source, body);
        host.set_response_headers(&headers);
        host.set_response_body(&body);
        self.content = body;
        self.is_complete = true;
        Action::Continue
    }

    /// Returns the body for the client and sets its headers.
    fn answer(
        &mut self,
        host: &impl Host,
        call: &mut ClientCall,
        headers: &mut HeaderList<'_>,
        source: Source,
        body: Result<Vec<u8>, ApiError>,
    ) -> Vec<u8> {
        let body = match body.and_then(|body| self.read(host, call, source, body)) {
            Ok(mut body) => {
                self.summary = call.api.summarize(&body);
                if self.summary.calls_tools {
                    call.session_for_tools(host);
                }
                if call.cache_key.is_some() {
                    self.kept.clone_from(&body);
                }
                json::append_members(&mut body, &call.extras(host, &self.summary));
                body
            }
            Err(error) => self.answer_error(host, call, headers, error),
        };
        call.report_health(host);
        finish_headers(host, call, headers, body.len());
        body
    }

    /// Returns the answer in the client's API, or its error.
    fn read(
        &self,
        host: &impl Host,
        call: &ClientCall,
        source: Source,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, ApiError> {
        let provider = call
            .selected
            .as_ref()
            .map_or("The provider", |(name, _)| name);
        match source {
            Source::Provider => {
                let read = match call.origin() {
                    Some(origin) => upstream::read_answer(self.status, &body, &origin)?,
                    None => None,
                };
                Ok(read.unwrap_or(body))
            }
            Source::ProviderStage if self.status < 400 => Ok(body),
            // The provider stage can't add a body to a reply without one.
            Source::ProviderStage if body.is_empty() => {
                Err(ApiError::from_provider(provider, self.status, ""))
            }
            Source::ProviderStage => Err(read_own_error(self.status, &body)),
            Source::Envoy => Err(failure::of_envoy_reply(provider, &host.response_details()).0),
        }
    }

    /// Returns the body of an error and sets its headers.
    fn answer_error(
        &mut self,
        host: &impl Host,
        call: &mut ClientCall,
        headers: &mut HeaderList<'_>,
        mut error: ApiError,
    ) -> Vec<u8> {
        call.key_mask().mask_error(&mut error);
        let retry_after = error.retry_after.or(headers.retry_after());
        if let Some(attempt) = call.attempts.last_mut() {
            attempt
                .error
                .get_or_insert_with(|| AttemptError::of_status(error.status));
            attempt.retry_after = attempt.retry_after.or(retry_after);
        }
        call.report_health(host);
        self.status = error.status;
        headers.set_error(&error);
        let body = call.api.error_json(&error, &call.attempts);
        self.error = Some(error);
        body
    }
}

/// Returns the error and the reason for a provider that timed out.
fn timeout_error(call: &ClientCall) -> (ApiError, AttemptError) {
    let candidate = call.plan.first();
    let provider = candidate.map_or("The provider", |candidate| &candidate.provider.name);
    failure::timeout(provider)
}

/// Adds the headers that every answer has.
fn finish_headers(
    host: &impl Host,
    call: &ClientCall,
    headers: &mut HeaderList<'_>,
    body_length: usize,
) {
    call.add_headers(host, headers);
    headers.push("content-length", body_length.to_string());
}

/// Records the attempts, from whichever source knows them, and returns the origin of the response.
fn note_attempts(
    host: &impl Host,
    call: &mut ClientCall,
    headers: &HeaderList<'_>,
    status: u16,
) -> Source {
    let is_direct = call.is_direct;
    if !is_direct
        && let Some(text) = headers.get(headers::ATTEMPT_LOG)
        && let Ok(log) = serde_json::from_str::<Vec<LoggedAttempt>>(text)
    {
        call.note_log(host, log);
        return Source::ProviderStage;
    }
    match call.plan.first() {
        Some(candidate) if is_direct && !host.is_envoys_reply(status) => {
            let attempt = AttemptSummary {
                provider: candidate.provider.name.clone(),
                model: candidate.model.clone(),
                status: Some(status),
                error: (status >= 400).then(|| AttemptError::of_status(status)),
                latency_ms: Some(call.trace.started.elapsed_micros(host) / 1000),
                retry_after: None,
            };
            call.note_attempts(vec![attempt]);
            Source::Provider
        }
        _ => {
            call.note_silence(
                host,
                failure::of_envoy_reply("", &host.response_details()).1,
            );
            Source::Envoy
        }
    }
}

/// Reads an error that the provider stage has already put in OpenAI's format.
fn read_own_error(status: u16, body: &[u8]) -> ApiError {
    let details = openai_error::read(body);
    ApiError {
        code: details.code.map(Cow::Owned),
        param: details.param,
        ..ApiError::new(status, details.message)
    }
}
