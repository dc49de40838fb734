//! One HTTP stream of Envoy, and the streams of a VM whose deadlines are watched.
//!
//! Envoy's own timeouts end once a response has begun, so a provider that sends headers and then
//! nothing would leave its client hanging. The root context checks all streams of its VM on every
//! tick.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Instant;

use crate::deadline::Deadline;
use crate::host::{Action, CallId, Host};

/// The callbacks of a stream, in the order in which Envoy makes them. `size` is the number of bytes
/// of a body that Envoy buffers.
pub trait Stage<H: Host> {
    fn on_request_headers(&mut self, host: &H, end_of_stream: bool) -> Action;
    fn on_request_body(&mut self, host: &H, size: usize, end_of_stream: bool) -> Action;
    fn on_request_trailers(&mut self, host: &H) -> Action;
    fn on_response_headers(&mut self, host: &H, end_of_stream: bool) -> Action;
    fn on_response_body(&mut self, host: &H, size: usize, end_of_stream: bool) -> Action;
    fn on_response_trailers(&mut self, host: &H) -> Action;

    /// Handles the answer to a gRPC call of this stream.
    fn on_grpc_answer(&mut self, host: &H, call: CallId, status: u32, size: usize);

    /// Handles the answer to an HTTP call of this stream.
    fn on_http_answer(&mut self, _host: &H, _call: CallId, _size: usize) {}

    /// Handles the end of the stream, for any reason.
    fn on_log(&mut self, host: &H);

    /// Returns the time by which the stream has to make progress; `None` in a state that has none.
    fn deadline(&mut self) -> Option<&mut Deadline>;

    /// Ends the stream.
    fn on_deadline(&mut self, host: &H);
}

type SharedStage<H> = RefCell<dyn Stage<H>>;

/// The streams of a VM, by the id of their context.
pub struct Streams<H>(Rc<RefCell<BTreeMap<u32, Weak<SharedStage<H>>>>>);

impl<H> Default for Streams<H> {
    fn default() -> Self {
        Self(Rc::default())
    }
}

impl<H: Host> Streams<H> {
    /// Adds a stream, which stays until it is dropped.
    pub fn open(&self, id: u32, stage: Rc<SharedStage<H>>) -> Stream<H> {
        let weak = Rc::downgrade(&stage);
        self.0.borrow_mut().insert(id, weak);
        Stream {
            id,
            stage,
            streams: Self(Rc::clone(&self.0)),
        }
    }

    /// Ends the streams whose deadline has passed. `root` is the id of the root context.
    pub fn on_tick(&self, host: &H, root: u32) {
        let overdue = self.overdue(host.now());
        if overdue.is_empty() {
            return;
        }
        for (id, stage) in overdue {
            if host.enter(id) {
                stage.borrow_mut().on_deadline(host);
            }
        }
        // Fails only if the VM is already gone.
        host.enter(root);
    }

    fn overdue(&self, now: Instant) -> Vec<(u32, Rc<SharedStage<H>>)> {
        let is_over = |stage: &Rc<SharedStage<H>>| {
            let mut stage = stage.borrow_mut();
            stage.deadline().is_some_and(|own| own.expire(now))
        };
        let streams = self.0.borrow();
        let alive = streams
            .iter()
            .filter_map(|(id, stage)| Some((*id, stage.upgrade()?)));
        alive.filter(|(_, stage)| is_over(stage)).collect()
    }
}

/// A stream, whose deadline is watched while it lives.
pub struct Stream<H> {
    id: u32,
    stage: Rc<SharedStage<H>>,
    streams: Streams<H>,
}

impl<H> Stream<H> {
    /// Runs a callback.
    pub fn with<R>(&self, callback: impl FnOnce(&mut dyn Stage<H>) -> R) -> R {
        callback(&mut *self.stage.borrow_mut())
    }
}

impl<H> Drop for Stream<H> {
    fn drop(&mut self) {
        self.streams.0.borrow_mut().remove(&self.id);
    }
}
