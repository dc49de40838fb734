//! A stream of Envoy with its stage.

use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use opentracy_filter_core::headers;
use opentracy_filter_core::host::Action;
use opentracy_filter_core::stream::{Stage, Stream};

use crate::envoy::{self, NativeEnvoy};
use crate::filter_calls::{BodySide, FilterPtr};
use crate::handles::{self, LaterStep, StreamHandle, VmHandle};
use crate::panics;

/// The reply to a request whose handling panicked, in OpenAI's format like every error.
const PANIC_REPLY: &[u8] = br#"{"error":{"message":"The gateway failed to handle the request","type":"api_error","param":null,"code":"internal_error"}}"#;

/// One filter of one stream.
pub struct NativeFilter {
    handle: Rc<StreamHandle>,
    vm: Rc<VmHandle>,
    /// `None` once the stage has panicked or the filter has ended.
    stage: RefCell<Option<Rc<Stream<NativeEnvoy>>>>,
    /// Set while a callback of the stage runs.
    is_busy: Cell<bool>,
}

impl NativeFilter {
    /// Adds a filter for a new stream; `None` if `open` doesn't make a stage.
    pub fn open(
        vm: &Rc<VmHandle>,
        envoy: FilterPtr,
        open: impl FnOnce(u32) -> Option<Stream<NativeEnvoy>>,
    ) -> Option<Rc<Self>> {
        let handle = StreamHandle::open(envoy);
        let stage = open(handle.id)?;
        Some(Rc::new(Self {
            handle,
            vm: Rc::clone(vm),
            stage: RefCell::new(Some(Rc::new(stage))),
            is_busy: Cell::new(false),
        }))
    }

    /// Runs a callback of the stage and returns whether Envoy may go on.
    pub fn decide(
        &self,
        callback: impl FnOnce(&mut dyn Stage<NativeEnvoy>, &NativeEnvoy) -> Action,
    ) -> Action {
        if self.is_busy.get() {
            // Envoy answers the request by itself from within a call of the stage.
            return Action::Continue;
        }
        self.call(callback).unwrap_or(Action::Pause)
    }

    /// Handles a part of the request's body.
    pub fn on_request_body(&self, end_of_stream: bool) -> Action {
        let size = self.body_size(BodySide::Request);
        self.decide(|stage, host| stage.on_request_body(host, size, end_of_stream))
    }

    /// Handles a part of the response's body.
    pub fn on_response_body(&self, end_of_stream: bool) -> Action {
        let size = self.body_size(BodySide::Response);
        self.decide(|stage, host| stage.on_response_body(host, size, end_of_stream))
    }

    fn body_size(&self, body: BodySide) -> usize {
        let envoy = self.handle.envoy();
        envoy.map_or(0, |envoy| envoy.body_size(body))
    }

    /// Runs a callback of the stage. Returns `None` if the stage is gone, or if it panics.
    pub fn call<R>(
        &self,
        callback: impl FnOnce(&mut dyn Stage<NativeEnvoy>, &NativeEnvoy) -> R,
    ) -> Option<R> {
        let stage = self.stage.borrow().clone()?;
        if self.is_busy.replace(true) {
            return None;
        }
        let run = || {
            let result = panics::catch(AssertUnwindSafe(|| {
                stage.with(|stage| callback(stage, &NativeEnvoy))
            }));
            self.is_busy.set(false);
            if result.is_none() {
                self.fail();
            }
            // Its destructor belongs to the VM.
            drop(stage);
            result
        };
        handles::during(&self.vm, Some(Rc::clone(&self.handle)), run)
    }

    /// Hands the answers that have arrived to the stage.
    pub fn take_answers(&self) {
        for answer in self.handle.inbox.take() {
            let size = envoy::set_message(answer.message);
            self.call(|stage, host| {
                stage.on_grpc_answer(host, answer.call, answer.status, size);
            });
        }
    }

    /// Ends the filter. Envoy's object is gone when this returns.
    pub fn close(&self) {
        self.handle.close();
        let stage = self.stage.take();
        handles::during(&self.vm, None, || {
            panics::catch(AssertUnwindSafe(|| drop(stage)));
        });
    }

    /// Handles a panic: drops the stage, and answers the client or closes its stream.
    fn fail(&self) {
        self.handle.forget_steps();
        let stage = self.stage.take();
        panics::catch(AssertUnwindSafe(|| drop(stage)));
        // The internal listener makes a reply without the stage's mark try the next candidate.
        let reply = LaterStep::Reply(500, headers::json(), PANIC_REPLY.to_vec());
        self.handle.later(reply);
    }
}
