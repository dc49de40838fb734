//! The filters that this module has.

use opentracy_filter_core::host::{Action, CallId};

use crate::envoy;
use crate::hold::Hold;
use crate::stage_filter::StageFilter;

/// A filter of one stream.
pub enum NativeFilter {
    Stage(StageFilter),
    Hold(Hold),
}

impl NativeFilter {
    pub fn on_request_headers(&self, end_of_stream: bool) -> Action {
        match self {
            Self::Stage(filter) => {
                filter.decide(|stage, host| stage.on_request_headers(host, end_of_stream))
            }
            Self::Hold(hold) => hold.on_request_headers(),
        }
    }

    pub fn on_request_body(&self, end_of_stream: bool) -> Action {
        match self {
            Self::Stage(filter) => filter.on_request_body(end_of_stream),
            Self::Hold(_) => Action::Continue,
        }
    }

    pub fn on_request_trailers(&self) -> Action {
        match self {
            Self::Stage(filter) => filter.decide(|stage, host| stage.on_request_trailers(host)),
            Self::Hold(_) => Action::Continue,
        }
    }

    pub fn on_response_headers(&self, end_of_stream: bool) -> Action {
        match self {
            Self::Stage(filter) => {
                filter.decide(|stage, host| stage.on_response_headers(host, end_of_stream))
            }
            Self::Hold(hold) => hold.on_response_headers(end_of_stream),
        }
    }

    pub fn on_response_body(&self, end_of_stream: bool) -> Action {
        match self {
            Self::Stage(filter) => filter.on_response_body(end_of_stream),
            Self::Hold(hold) => hold.on_response_body(end_of_stream),
        }
    }

    pub fn on_response_trailers(&self) -> Action {
        match self {
            Self::Stage(filter) => filter.decide(|stage, host| stage.on_response_trailers(host)),
            Self::Hold(hold) => hold.on_response_trailers(),
        }
    }

    /// Handles the end of the stream.
    pub fn on_log(&self) {
        if let Self::Stage(filter) = self {
            filter.call(|stage, host| stage.on_log(host));
        }
    }

    /// Hands the gRPC answers that have arrived to the stage.
    pub fn take_answers(&self) {
        if let Self::Stage(filter) = self {
            filter.take_answers();
        }
    }

    /// Handles the answer to an HTTP call: its status and body, or `None` if it failed.
    pub fn on_http_answer(&self, call: CallId, response: Option<(u16, Vec<u8>)>) {
        if let Self::Stage(filter) = self {
            let size = envoy::set_response(response);
            filter.call(|stage, host| stage.on_http_answer(host, call, size));
        }
    }

    /// Ends the filter. Envoy's object is gone when this returns.
    pub fn close(&self) {
        if let Self::Stage(filter) = self {
            filter.close();
        }
    }
}
