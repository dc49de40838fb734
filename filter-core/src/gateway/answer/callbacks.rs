//! Envoy's callbacks about the response to a call.

use opentracy_translate::attempt_error::AttemptError;
use opentracy_translate::error::{ApiError, AttemptSummary};

use super::state::{ClientAnswer, Source, State};
use crate::gateway::call::ClientCall;
use crate::gateway::own_attempts;
use crate::headers::{self, HeaderList};
use crate::host::{Action, Host};
use crate::plan::LoggedAttempt;
use crate::stream_prelude::{self, StreamPrelude};
use crate::{events, failure};

impl ClientAnswer {
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
                if self.fails_over(host, call, &error, None) {
                    return;
                }
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
        if source == Source::Envoy {
            self.envoys_details = envoys_details(host, &headers);
            call.note_silence(host, failure::of_envoy_reply("", &self.envoys_details).1);
            let error = self.envoys_error(call);
            if self.fails_over(host, call, &error, None) {
                return Action::Pause;
            }
        }
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
            let Some(body) = self.answer(host, call, &mut headers, source, Ok(Vec::new())) else {
                return Action::Pause;
            };
            // Envoy can't add a body to a response without one, so a new response is sent instead.
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

    /// Moves on to the next attempt after one that failed. Returns false after the last one, so
    /// that the client gets the error. `retry_after` is what the headers say.
    pub(super) fn fails_over(
        &mut self,
        host: &impl Host,
        call: &mut ClientCall,
        error: &ApiError,
        retry_after: Option<u64>,
    ) -> bool {
        let retry_after = error.retry_after.or(retry_after);
        let fails_over = own_attempts::fail_over(host, call, error, retry_after);
        if fails_over {
            *self = Self::default();
        }
        fails_over
    }

    pub fn on_trailers(&mut self, host: &impl Host, call: &mut ClientCall) -> Action {
        match self.state {
            State::Holding { .. } => self.finish_body(host, call),
            State::Prelude(_) => self.on_prelude(host, call, true),
            State::Streaming(_) => {
                self.on_chunk(host, call, true);
                Action::Continue
            }
            State::Waiting | State::Over => Action::Continue,
        }
    }
}

/// Returns the error and the reason for a provider that timed out.
fn timeout_error(call: &ClientCall) -> (ApiError, AttemptError) {
    failure::timeout(call.provider_name())
}

/// Returns Envoy's response code details for a response that it generated: here, or behind the
/// internal listener.
fn envoys_details(host: &impl Host, headers: &HeaderList<'_>) -> String {
    match headers.get(headers::LOCAL_REPLY) {
        // Configurations of earlier versions mark it only.
        None | Some("1") => host.response_details(),
        Some(details) => details.to_owned(),
    }
}

/// Records the attempts, from whichever source knows them, and returns the origin of the response.
/// If that is Envoy, no source knows them.
fn note_attempts(
    host: &impl Host,
    call: &mut ClientCall,
    headers: &HeaderList<'_>,
    status: u16,
) -> Source {
    if !call.is_direct
        && let Some(text) = headers.get(headers::ATTEMPT_LOG)
        && let Ok(log) = serde_json::from_str::<Vec<LoggedAttempt>>(text)
    {
        call.note_log(host, log);
        return Source::ProviderStage;
    }
    match call.candidate() {
        Some(candidate) if !host.is_envoys_reply(status) => {
            let attempt = AttemptSummary {
                provider: candidate.provider.name.clone(),
                model: candidate.model.clone(),
                status: Some(status),
                error: (status >= 400).then(|| AttemptError::of_status(status)),
                latency_ms: Some(call.attempt_started().elapsed_micros(host) / 1000),
                retry_after: None,
            };
            call.note_attempt(attempt);
            Source::Provider
        }
        _ => Source::Envoy,
    }
}
