//! The filter of a stage: one pass of a request.

use std::rc::Rc;

use opentracy_filter_core::host::Action;
use opentracy_filter_core::stream::{Stage, Stream};

use crate::active_stream::{self, ActiveStream};
use crate::envoy::NativeEnvoy;
use crate::filter_calls::{BodySide, FilterPtr};
use crate::handles::VmHandle;

/// A filter. After a restart Envoy still calls the hooks of the pass that has ended; the stage
/// doesn't see them.
pub struct StageFilter {
    envoy: FilterPtr,
    stream: Rc<ActiveStream>,
}

impl StageFilter {
    /// Adds a filter: for the request that Envoy is restarting, or for a new stream. Returns `None`
    /// if `open` doesn't make a stage.
    pub fn open(
        vm: &Rc<VmHandle>,
        envoy: FilterPtr,
        open: impl FnOnce(u32) -> Option<Stream<NativeEnvoy>>,
    ) -> Option<Self> {
        let stream = match active_stream::take_restarting(vm, envoy) {
            Some(stream) => stream,
            None => ActiveStream::open(vm, envoy, open)?,
        };
        Some(Self { envoy, stream })
    }

    /// Returns the stream; `None` if this pass has ended.
    fn stream(&self) -> Option<&Rc<ActiveStream>> {
        Some(&self.stream).filter(|stream| stream.envoy() == Some(self.envoy))
    }

    /// Runs a callback of the stage and returns whether Envoy may go on.
    pub fn decide(
        &self,
        callback: impl FnOnce(&mut dyn Stage<NativeEnvoy>, &NativeEnvoy) -> Action,
    ) -> Action {
        let stream = self.stream();
        stream.map_or(Action::Pause, |stream| stream.decide(callback))
    }

    /// Handles a part of the request's body.
    pub fn on_request_body(&self, end_of_stream: bool) -> Action {
        let size = self.envoy.body_size(BodySide::Request);
        self.decide(|stage, host| stage.on_request_body(host, size, end_of_stream))
    }

    /// Handles a part of the response's body.
    pub fn on_response_body(&self, end_of_stream: bool) -> Action {
        let size = self.envoy.body_size(BodySide::Response);
        self.decide(|stage, host| stage.on_response_body(host, size, end_of_stream))
    }

    /// Runs a callback of the stage.
    pub fn call(&self, callback: impl FnOnce(&mut dyn Stage<NativeEnvoy>, &NativeEnvoy)) {
        if let Some(stream) = self.stream() {
            stream.call(callback);
        }
    }

    /// Hands the answers that have arrived to the stage.
    pub fn take_answers(&self) {
        if let Some(stream) = self.stream() {
            stream.take_answers();
        }
    }

    /// Ends the filter. Envoy's object is gone when this returns.
    pub fn close(&self) {
        if let Some(stream) = self.stream() {
            stream.close();
        }
    }
}
