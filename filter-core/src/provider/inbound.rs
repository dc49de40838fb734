//! A provider's response, on its way into the client's API.

use opentracy_translate::attempt_error::AttemptError;
use opentracy_translate::error::ApiError;
use opentracy_translate::format::StreamTranslator;

use crate::deadline::Deadline;
use crate::headers::{self, HeaderList};
use crate::host::{Action, Host};
use crate::provider::attempt::ActiveAttempt;
use crate::stream_prelude::{self, PreludeProgress, StreamPrelude, translate_chunk};
use crate::{failure, memory, upstream};

#[derive(Default)]
pub struct Inbound {
    state: State,
    /// Bytes of a body that Envoy buffers.
    buffered: usize,
    /// The time by which the provider has to send more.
    deadline: Deadline,
}

#[derive(Default)]
enum State {
    #[default]
    Waiting,
    /// Buffers a body until it is complete. The error is set if Envoy generated the response.
    Body(HeaderList<'static>, Option<(ApiError, AttemptError)>),
    Prelude(StreamPrelude),
    Stream(Box<StreamTranslator>),
    Over,
}

impl Inbound {
    /// Returns the state for an attempt that this stage answered itself.
    pub fn over() -> Self {
        Self {
            state: State::Over,
            ..Self::default()
        }
    }

    /// Returns the state for an attempt whose request was just sent.
    pub fn awaited(host: &impl Host, attempt: &ActiveAttempt) -> Self {
        Self {
            deadline: Deadline::after(host, attempt.timeout()),
            ..Self::default()
        }
    }

    pub fn deadline(&mut self) -> &mut Deadline {
        &mut self.deadline
    }

    /// Ends an attempt that timed out: with an error reply, so that another candidate is tried, or
    /// by closing the stream if it has begun.
    pub fn on_deadline(&mut self, host: &impl Host, attempt: &mut ActiveAttempt) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Over => {}
            State::Stream(_) => {
                attempt.broke_off(AttemptError::Timeout);
                host.close_response();
            }
            State::Waiting | State::Body(..) | State::Prelude(..) => {
                let (error, reason) = failure::timeout(attempt.provider_name());
                let log = attempt.log(host, None, Some(reason), None);
                let headers = HeaderList::default();
                let (body, mut headers) = error_reply(attempt, headers, &error, log);
                headers.retain(|name| !name.starts_with(':') && name != "content-length");
                host.reply(error.status, &headers, &body);
            }
        }
    }

    pub fn on_headers(
        &mut self,
        host: &impl Host,
        attempt: &mut ActiveAttempt,
        end_of_stream: bool,
    ) -> Action {
        if !matches!(self.state, State::Waiting) {
            return Action::Continue;
        }
        let mut headers = host.response_headers();
        let is_envoys = headers.get(headers::LOCAL_REPLY).is_some();
        headers.retain(|name| !headers::is_providers_own(name));
        if is_envoys {
            // Envoy generated the response because the provider gave none.
            let details = host.response_details();
            let failure = failure::of_envoy_reply(attempt.provider_name(), &details);
            self.state = State::Body(headers, Some(failure));
        } else {
            match attempt.origin() {
                Some(origin) if stream_prelude::is_stream(&headers, end_of_stream) => {
                    self.state = State::Prelude(StreamPrelude::new(headers, &origin));
                    return Action::Pause;
                }
                _ => self.state = State::Body(headers, None),
            }
        }
        if end_of_stream {
            return self.on_end(host, attempt);
        }
        Action::Pause
    }

    /// Handles more of the body; `size` bytes of it are buffered.
    pub fn on_body(
        &mut self,
        host: &impl Host,
        attempt: &mut ActiveAttempt,
        size: usize,
        end_of_stream: bool,
    ) -> Action {
        self.buffered = size;
        match &mut self.state {
            State::Body(..) if end_of_stream => self.on_end(host, attempt),
            State::Body(..) => Action::Pause,
            State::Prelude(..) => self.on_prelude(host, attempt, end_of_stream),
            State::Stream(translator) => {
                self.deadline.progress(end_of_stream);
                if translator.is_transparent() {
                    if !translator.is_complete() {
                        translator.watch(&host.response_body(0));
                    }
                } else if let Some(out) =
                    translate_chunk(translator, &host.response_body(0), end_of_stream)
                {
                    host.set_response_body(&out);
                }
                Action::Continue
            }
            State::Waiting | State::Over => Action::Continue,
        }
    }

    /// Reads more of a stream that has not begun. A failure before its beginning gets an error
    /// reply like any other.
    fn on_prelude(
        &mut self,
        host: &impl Host,
        attempt: &mut ActiveAttempt,
        end_of_stream: bool,
    ) -> Action {
        let State::Prelude(prelude) = std::mem::replace(&mut self.state, State::Over) else {
            return Action::Continue;
        };
        match prelude.advance(host, end_of_stream) {
            PreludeProgress::Pending(prelude) => {
                self.state = State::Prelude(prelude);
                return Action::Pause;
            }
            PreludeProgress::Started {
                mut headers,
                translator,
                out,
            } => {
                let status = headers.status();
                let log = attempt.log(host, Some(status), None, None);
                mark(attempt, &mut headers, log, status);
                headers.set("content-type", headers::EVENT_STREAM);
                host.set_response_headers(&headers);
                host.set_response_body(&out);
                self.deadline.progress(end_of_stream);
                self.state = State::Stream(translator);
            }
            PreludeProgress::Failed { headers, error } => {
                let (body, headers) = failed(host, attempt, headers, &error);
                host.set_response_headers(&headers);
                host.set_response_body(&body);
            }
        }
        Action::Continue
    }

    /// Ends a response that has trailers. Its last bytes came without the mark of the end.
    pub fn on_trailers(&mut self, host: &impl Host, attempt: &mut ActiveAttempt) -> Action {
        match &mut self.state {
            State::Prelude(..) => self.on_prelude(host, attempt, true),
            State::Stream(translator) => {
                self.deadline.progress(true);
                if let Some(out) = translate_chunk(translator, &[], true)
                    && !out.is_empty()
                {
                    host.set_response_body(&out);
                }
                Action::Continue
            }
            State::Waiting | State::Body(..) | State::Over => self.on_end(host, attempt),
        }
    }

    /// Notes that a stream broke off, once the exchange is over. A client that left may miss the
    /// rest of an answer, and the provider isn't at fault.
    pub fn finish(&self, host: &impl Host, attempt: &mut ActiveAttempt) {
        if let State::Stream(translator) = &self.state
            && (translator.error().is_some()
                || !translator.is_complete() && !failure::is_clients_end(&host.response_details()))
        {
            attempt.broke_off(AttemptError::BrokeOff);
        }
    }

    /// Translates a buffered body that is complete.
    fn on_end(&mut self, host: &impl Host, attempt: &mut ActiveAttempt) -> Action {
        if let State::Body(headers, failure) = std::mem::replace(&mut self.state, State::Over) {
            let held = memory::response_body(host, self.buffered);
            let is_empty = held.as_ref().is_ok_and(Vec::is_empty);
            let read = match failure {
                Some(failure) => Err(failure),
                None => held.map_err(|error| (error, AttemptError::RefusedByGateway)),
            };
            let (body, mut headers) = match read {
                Ok(held) => answer(host, attempt, headers, &held),
                Err((error, reason)) => {
                    let log = attempt.log(host, None, Some(reason), None);
                    let (body, headers) = error_reply(attempt, headers, &error, log);
                    (Some(body), headers)
                }
            };
            if is_empty {
                // Envoy can't add a body to a reply without one; the gateway stage generates one.
                headers.set("content-length", "0");
                host.set_response_headers(&headers);
            } else {
                host.set_response_headers(&headers);
                if let Some(body) = body {
                    host.set_response_body(&body);
                }
            }
        }
        Action::Continue
    }
}

/// Translates a complete answer for the client; returns the body and the headers. The body is
/// `None` if it needs no translation.
fn answer(
    host: &impl Host,
    attempt: &mut ActiveAttempt,
    mut headers: HeaderList<'static>,
    body: &[u8],
) -> (Option<Vec<u8>>, HeaderList<'static>) {
    let status = headers.status();
    let read = match attempt.origin() {
        Some(origin) => upstream::read_answer(status, body, &origin),
        None => Ok(None),
    };
    match read {
        Ok(translated) => {
            let log = attempt.log(host, Some(status), None, None);
            mark(attempt, &mut headers, log, status);
            let length = translated.as_ref().map_or(body.len(), Vec::len);
            headers.push("content-length", length.to_string());
            (translated, headers)
        }
        Err(error) => {
            let (body, headers) = failed(host, attempt, headers, &error);
            (Some(body), headers)
        }
    }
}

/// Logs a provider's error and returns the reply for it.
fn failed(
    host: &impl Host,
    attempt: &mut ActiveAttempt,
    headers: HeaderList<'static>,
    error: &ApiError,
) -> (Vec<u8>, HeaderList<'static>) {
    let status = headers.status();
    // The log has the provider's own status if it is an error: a 529 becomes a 503 for the client,
    // and stays a 529 in the log.
    let told = if status >= 400 { status } else { error.status };
    let retry_after = error.retry_after.or(headers.retry_after());
    let log = attempt.log(
        host,
        Some(told),
        Some(AttemptError::of_status(told)),
        retry_after,
    );
    error_reply(attempt, headers, error, log)
}

fn error_reply(
    attempt: &mut ActiveAttempt,
    mut headers: HeaderList<'static>,
    error: &ApiError,
    log: String,
) -> (Vec<u8>, HeaderList<'static>) {
    let body = error.to_json();
    headers.set_error(error);
    headers.set("content-length", body.len().to_string());
    mark(attempt, &mut headers, log, error.status);
    (body, headers)
}

/// Adds the attempt log for the gateway stage, and the retry mark for Envoy.
fn mark(attempt: &mut ActiveAttempt, headers: &mut HeaderList<'static>, log: String, status: u16) {
    headers.push(headers::ATTEMPT_LOG, log);
    attempt.is_retried = attempt.is_retriable(status);
    if attempt.is_retried {
        headers.push(headers::RETRY, "1");
    }
}
