//! The end of a call: its outcome, and the record that it becomes.

use opentracy_proto::v1;
use opentracy_translate::error::ApiError;

use super::state::{ClientAnswer, State};
use crate::failure;
use crate::gateway::cache::{self, CachedAnswer};
use crate::gateway::call::{CallResult, ClientCall};
use crate::host::Host;

impl ClientAnswer {
    /// Finishes the call once the client's stream has ended for any reason.
    pub fn finish(mut self, host: &impl Host, mut call: ClientCall) {
        let mut broke_off = false;
        let is_held = matches!(self.state, State::Holding { .. } | State::Prelude(_));
        if let State::Streaming(stream) = self.state {
            let tap = &stream.tap;
            self.summary = tap.summary().clone();
            self.error = self.error.take().or_else(|| tap.error().cloned());
            self.is_complete |= tap.is_over();
            broke_off = self.error.is_some();
        }
        let details = if self.is_complete {
            String::new()
        } else {
            host.response_details()
        };
        let outcome = if broke_off {
            v1::Outcome::UpstreamBrokeOff
        } else {
            failure::outcome(self.is_complete, &details)
        };
        if outcome == v1::Outcome::UpstreamBrokeOff && is_held {
            // The client has Envoy's own error instead of the answer that this stage held.
            let (error, reason) = failure::of_envoy_reply(call.provider_name(), &details);
            if let Some(attempt) = call.attempts.last_mut() {
                attempt.error.get_or_insert(reason);
            }
            self.status = error.status;
            self.error = Some(error);
        }
        if outcome == v1::Outcome::UpstreamBrokeOff && self.error.is_none() {
            let message = format!("The provider's stream broke off: {details}");
            self.error = Some(ApiError::new(502, message).with_code("incomplete_stream"));
        }
        if let Some(key) = call.cache_key.take()
            && self.status == 200
            && self.is_complete
            && self.error.is_none()
            && let Some((provider, model)) = call.selected.clone()
        {
            let answer = CachedAnswer {
                provider,
                model,
                is_event_stream: self.is_event_stream,
                body: self.kept,
            };
            cache::keep(host, &key, answer);
        }
        call.record(
            host,
            CallResult {
                outcome,
                status: self.status,
                error: self.error,
                summary: self.summary,
                response: self.content,
                is_event_stream: self.is_event_stream,
            },
        );
    }
}
