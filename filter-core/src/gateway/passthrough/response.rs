//! The answer to a passthrough call: streamed, or buffered to translate it, mask it, or check the
//! owners of its objects.

use opentracy_translate::client::Api;
use opentracy_translate::error::ApiError;
use opentracy_translate::redact::EventMask;

use super::held_answer::HeldProgress;
use super::ownership::Ownership;
use super::state::{Passthrough, State};
use super::target::PassthroughTarget;
use crate::deadline::Deadline;
use crate::gateway::envoys_reply::EnvoysReply;
use crate::headers::{self, HeaderList};
use crate::host::{Action, Host};
use crate::memory;
use crate::upstream::MAX_ERROR_BYTES;

impl Passthrough {
    /// Returns whether the request was sent or answered.
    pub fn is_sent(&self) -> bool {
        !matches!(
            self.state,
            State::Receiving | State::Waiting(..) | State::Checking(..)
        )
    }

    pub fn on_response_headers(&mut self, host: &impl Host, end_of_stream: bool) -> Action {
        let State::Sent(target) = std::mem::replace(&mut self.state, State::Over) else {
            return Action::Continue;
        };
        let mut response = host.response_headers();
        let details = host.envoys_reply_details(response.status());
        let failure = self.record.began(host, &response, details.as_deref());
        response.retain(headers::is_passed_on);
        if let Some(error) = failure {
            self.record.add_headers(host, &mut response);
            let reply =
                EnvoysReply::replace(host, Api::CHAT_COMPLETIONS, &error, response, end_of_stream);
            self.state = State::EnvoysReply(reply);
            self.record.is_complete = true;
            return Action::Continue;
        }
        if !end_of_stream {
            self.deadline = Deadline::after(host, self.timeout);
        }
        // A provider's error is translated, or passed on with the keys in it masked.
        let is_error = response.status() >= 400;
        let keys = &target.provider.key_mask;
        response.mask(keys, is_error);
        self.record.add_headers(host, &mut response);
        let own = self.ownership.as_ref();
        let names_objects = response.status() < 300 && own.is_some_and(Ownership::reads_answer);
        let is_looked_at = target.translation.is_some() || is_error || names_objects;
        let is_held = is_looked_at && !end_of_stream;
        if is_held {
            response.retain(|name| name != "content-length");
            self.state = State::Holding(target, response);
            return Action::Pause;
        }
        if response.is_event_stream() {
            // Masking an error may shorten it.
            response.retain(|name| name != "content-length");
            let mask = EventMask::new(keys.clone());
            self.state = State::Streaming(mask);
        } else {
            self.state = State::Sent(target);
        }
        host.set_response_headers(&response);
        Action::Continue
    }

    pub fn deadline(&mut self) -> &mut Deadline {
        &mut self.deadline
    }

    /// Ends a call whose provider timed out: with an error reply while its answer is held,
    /// otherwise by closing the client's stream.
    pub fn on_deadline(&mut self, host: &impl Host) {
        let error = self.record.time_out();
        if matches!(self.state, State::Holding(..) | State::Resolving(..)) {
            self.refuse(host, &error);
        } else {
            host.close_response();
        }
    }

    /// Handles more of the answer; `size` bytes of it are buffered.
    pub fn on_response_body(
        &mut self,
        host: &impl Host,
        size: usize,
        end_of_stream: bool,
    ) -> Action {
        // A held answer has the timeout for all of it.
        let is_held = matches!(self.state, State::Holding(..) | State::Resolving(..));
        if end_of_stream || !is_held {
            self.deadline.progress(end_of_stream);
        }
        self.buffered = self.buffered.max(size);
        match &mut self.state {
            State::EnvoysReply(reply) => {
                reply.on_body(host);
                Action::Continue
            }
            State::Streaming(mask) => {
                let chunk = host.response_body(0);
                let masked = mask.push(&chunk, end_of_stream);
                if let Some(masked) = &masked {
                    host.set_response_body(masked);
                }
                if self.record.wants_more() {
                    self.record.answered(masked.as_deref().unwrap_or(&chunk));
                }
                self.record.is_complete |= end_of_stream;
                Action::Continue
            }
            State::Discarding => {
                host.set_response_body(&[]);
                Action::Continue
            }
            State::Sent(_) => {
                if self.record.wants_more() {
                    let chunk = host.response_body(0);
                    self.record.answered(&chunk);
                }
                if end_of_stream {
                    self.record.is_complete = true;
                }
                Action::Continue
            }
            State::Holding(_, response) => {
                let is_too_long = response.status() >= 400 && size > MAX_ERROR_BYTES;
                if !end_of_stream && !is_too_long {
                    return Action::Pause;
                }
                let action = self.translate(host);
                if !end_of_stream {
                    self.state = State::Discarding;
                }
                action
            }
            State::Resolving(..) => Action::Pause,
            State::Receiving | State::Waiting(..) | State::Checking(..) | State::Over => {
                Action::Continue
            }
        }
    }

    /// Translates a buffered answer.
    fn translate(&mut self, host: &impl Host) -> Action {
        let State::Holding(target, response) = std::mem::replace(&mut self.state, State::Over)
        else {
            return Action::Continue;
        };
        let status = response.status();
        let body = match memory::response_body(host, self.buffered) {
            Ok(body) => body,
            Err(error) => {
                self.release(host, target, response, Err(error));
                return Action::Continue;
            }
        };
        let own = self.ownership.as_ref().filter(|own| own.reads_answer());
        if let Some(own) = own.filter(|_| status < 300) {
            let progress = own.read_answer(host, &target, body);
            return self.on_progress(host, target, response, progress);
        }
        let read = if target.is_proxied {
            match response.get("content-encoding") {
                None | Some("identity") => Ok(target.provider.key_mask.mask_body(&body)),
                // Keys can't be found in a compressed body.
                Some(_) => Err(ApiError::from_provider(&target.provider.name, status, "")),
            }
        } else {
            target.read_answer(status, &body, &self.record.request)
        };
        self.release(
            host,
            target,
            response,
            read.map(|translated| translated.unwrap_or(body)),
        );
        Action::Continue
    }

    /// Sends the complete answer to the client, or the error that replaces it.
    fn release(
        &mut self,
        host: &impl Host,
        target: Box<PassthroughTarget>,
        mut response: HeaderList<'static>,
        body: Result<Vec<u8>, ApiError>,
    ) {
        let body = match body {
            Ok(body) => body,
            Err(mut error) => {
                target.provider.key_mask.mask_error(&mut error);
                response.retain(|name| name != "content-encoding");
                response.set(":status", error.status.to_string());
                response.set("content-type", "application/json");
                self.record.fail(&error);
                error.to_json()
            }
        };
        response.set("content-length", body.len().to_string());
        host.set_response_headers(&response);
        host.set_response_body(&body);
        self.record.answered(&body);
        self.record.is_complete = true;
        self.state = State::Sent(target);
    }

    pub fn is_waiting_for_page(&self, http_call: u32) -> bool {
        matches!(&self.state, State::Resolving(_, _, held) if held.waits_for_http(http_call))
    }

    /// Resumes with a list's next page.
    pub fn on_next_page(&mut self, host: &impl Host, size: usize) {
        let state = std::mem::replace(&mut self.state, State::Over);
        if let (State::Resolving(target, response, held), Some(own)) = (state, &self.ownership) {
            let progress = held.on_next_page(host, own, &target, size);
            self.resume_answer(host, target, response, progress);
        }
    }

    /// Resumes a held answer, unless it has to wait for more.
    pub(super) fn resume_answer(
        &mut self,
        host: &impl Host,
        target: Box<PassthroughTarget>,
        response: HeaderList<'static>,
        progress: HeldProgress,
    ) {
        if self.on_progress(host, target, response, progress) == Action::Continue {
            host.resume_response();
        }
    }

    fn on_progress(
        &mut self,
        host: &impl Host,
        target: Box<PassthroughTarget>,
        response: HeaderList<'static>,
        progress: HeldProgress,
    ) -> Action {
        let body = match progress {
            HeldProgress::Held(held) => {
                self.state = State::Resolving(target, response, held);
                return Action::Pause;
            }
            HeldProgress::Done(body) => Ok(body),
            HeldProgress::Failed(error) => Err(error),
        };
        self.release(host, target, response, body);
        Action::Continue
    }
}
