//! The state of a passthrough call.

use std::time::Duration;

use opentracy_translate::endpoint::Endpoint;
use opentracy_translate::error::ApiError;
use opentracy_translate::multipart::ModelSearch;
use opentracy_translate::redact::EventMask;

use super::held_answer::HeldAnswer;
use super::ownership::Ownership;
use super::record::PassthroughRecord;
use super::target::PassthroughTarget;
use crate::deadline::Deadline;
use crate::gateway::envoys_reply::EnvoysReply;
use crate::gateway::limits;
use crate::headers::{self, HeaderList};
use crate::host::{Action, Host};

pub struct Passthrough {
    pub(super) endpoint: Endpoint,
    pub(super) request: HeaderList<'static>,
    pub(super) has_body: bool,
    /// The beginning of a form, until its model is known.
    pub(super) form: Option<ModelSearch>,
    pub(super) state: State,
    pub(super) record: PassthroughRecord,
    /// The call's use of objects that the provider stores.
    pub(super) ownership: Option<Ownership>,
    /// The longest silence of the provider once its answer has begun. Until then Envoy's timeout
    /// applies.
    pub(super) timeout: Duration,
    pub(super) deadline: Deadline,
    /// Bytes of an answer that Envoy buffers.
    pub(super) buffered: usize,
}

pub(super) enum State {
    /// More of the body is needed.
    Receiving,
    /// Waits for the control plane to grant limits.
    Waiting(Box<PassthroughTarget>, limits::PendingAcquire),
    /// Waits for the control plane to check that the caller owns the objects that the request
    /// names.
    Checking(Box<PassthroughTarget>, u32),
    /// Sent to the provider.
    Sent(Box<PassthroughTarget>),
    /// Envoy answered instead of the provider.
    EnvoysReply(EnvoysReply),
    /// Buffers a complete answer, to translate it.
    Holding(Box<PassthroughTarget>, HeaderList<'static>),
    /// The client got an error; the rest of the provider's error is dropped.
    Discarding,
    /// Masks errors in a stream of events.
    Streaming(EventMask),
    /// Holds a complete answer until the owners of the objects in it are known.
    Resolving(Box<PassthroughTarget>, HeaderList<'static>, HeldAnswer),
    /// Answered here.
    Over,
}

impl Passthrough {
    /// Answers with an error.
    pub(super) fn refuse(&mut self, host: &impl Host, error: &ApiError) -> Action {
        let mut reply = headers::json();
        self.record.add_headers(host, &mut reply);
        if let Some(seconds) = error.retry_after {
            reply.set("retry-after", seconds.to_string());
        }
        host.reply(error.status, &reply, &error.to_json());
        self.record.fail(error);
        self.state = State::Over;
        Action::Pause
    }

    /// Finishes the call once the client's stream has ended for any reason.
    pub fn finish(self, host: &impl Host) {
        let details = if self.record.is_complete {
            String::new()
        } else {
            host.response_details()
        };
        self.record.finish(host, &details);
    }
}
