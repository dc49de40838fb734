//! Holds a provider's answer, on its way to Envoy's router, until it can't break off before its
//! beginning.
//!
//! Once the router has the headers of an answer, Envoy leads the error for one that breaks off past
//! all filters, and no other attempt can be made. So this filter stands between the provider and
//! the router.

use std::cell::Cell;

use opentracy_filter_core::host::Action;

use crate::abi::HeaderMap;
use crate::filter_calls::{BodySide, FilterPtr};

/// The key of the stream's filter state that asks for it.
pub const KEY: &str = "opentracy.hold";
const EVENT_STREAM: &[u8] = b"text/event-stream";
const AWS_EVENT_STREAM: &[u8] = b"application/vnd.amazon.eventstream";

/// The filter of one attempt.
pub struct Hold {
    envoy: FilterPtr,
    state: Cell<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is held, or no longer.
    Off,
    /// The request asks for it, and the answer has not begun.
    Asked,
    /// Held until it is complete.
    Whole,
    /// Held until its first event is complete.
    Events,
    /// The same, in AWS's format.
    AwsEvents,
}

impl Hold {
    pub fn open(envoy: FilterPtr) -> Self {
        Self {
            envoy,
            state: Cell::new(State::Off),
        }
    }

    pub fn on_request_headers(&self) -> Action {
        // Not a header: it would be gone when Envoy sends the request again by itself.
        if self.envoy.has_state(KEY) {
            self.state.set(State::Asked);
        }
        Action::Continue
    }

    pub fn on_response_headers(&self, end_of_stream: bool) -> Action {
        if self.state.get() == State::Off {
            return Action::Continue;
        }
        if end_of_stream {
            return self.release();
        }
        let kind = self.envoy.header(HeaderMap::Response, "content-type");
        let kind = kind.unwrap_or_default();
        let state = if kind.starts_with(EVENT_STREAM) {
            State::Events
        } else if kind.starts_with(AWS_EVENT_STREAM) {
            State::AwsEvents
        } else {
            State::Whole
        };
        self.state.set(state);
        Action::Pause
    }

    pub fn on_response_body(&self, end_of_stream: bool) -> Action {
        let body = || self.envoy.body(BodySide::Response, 0);
        let is_ready = end_of_stream
            || match self.state.get() {
                State::Off | State::Asked => true,
                State::Whole => false,
                State::Events => has_event(&body()),
                State::AwsEvents => has_aws_event(&body()),
            };
        if is_ready {
            self.release()
        } else {
            Action::Pause
        }
    }

    pub fn on_response_trailers(&self) -> Action {
        self.release()
    }

    fn release(&self) -> Action {
        self.state.set(State::Off);
        Action::Continue
    }
}

/// Returns whether a server-sent event with data is complete. Comments may come before it.
fn has_event(bytes: &[u8]) -> bool {
    let mut has_data = false;
    let mut lines = bytes.split(|&byte| byte == b'\n');
    // The last line is not complete.
    lines.next_back();
    for line in lines {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() && has_data {
            return true;
        }
        has_data |= line.starts_with(b"data");
    }
    false
}

/// Returns whether the first message, whose length is in its first four bytes, is complete.
fn has_aws_event(bytes: &[u8]) -> bool {
    let length = bytes
        .first_chunk()
        .map(|length| u32::from_be_bytes(*length));
    length.is_some_and(|length| bytes.len() >= length as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_complete_with_its_empty_line() {
        for complete in ["data: x\n\n", ": wait\n\nevent: a\r\ndata: x\r\n\r\nda"] {
            assert!(has_event(complete.as_bytes()), "{complete:?}");
        }
        for partial in [
            "",
            "data: x",
            "data: x\n",
            ": wait\n\n",
            "event: a\n\n",
            "\n\ndata: x\r\n\r",
        ] {
            assert!(!has_event(partial.as_bytes()), "{partial:?}");
        }
    }

    #[test]
    fn a_message_of_aws_is_complete_with_its_length() {
        assert!(!has_aws_event(b""));
        assert!(!has_aws_event(&[0, 0, 0, 6, 1]));
        assert!(has_aws_event(&[0, 0, 0, 6, 1, 2]));
    }
}
