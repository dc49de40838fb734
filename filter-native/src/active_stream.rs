//! A client's stream with its stage, over all passes of its request through Envoy's filters.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::rc::{Rc, Weak};

use opentracy_filter_core::headers::{self, HeaderList};
use opentracy_filter_core::host::Action;
use opentracy_filter_core::stream::{Stage, Stream};

use crate::abi::HeaderMap;
use crate::envoy::{self, NativeEnvoy};
use crate::filter_calls::FilterPtr;
use crate::handles::{self, LaterStep, StreamHandle, VmHandle};
use crate::panics;

/// The reply to a request whose handling panicked, in OpenAI's format like every error.
const PANIC_REPLY: &[u8] = br#"{"error":{"message":"The gateway failed to handle the request","type":"api_error","param":null,"code":"internal_error"}}"#;
/// The reply to a request that Envoy doesn't restart.
const RESTART_REPLY: &[u8] = br#"{"error":{"message":"The gateway could not try another model. Try again","type":"api_error","param":null,"code":"upstream_unavailable"}}"#;

thread_local! {
    /// The streams of this thread, by the id of their context.
    static STREAMS: RefCell<HashMap<u32, Weak<ActiveStream>>> = RefCell::default();
    /// The stream whose request Envoy is restarting.
    static RESTARTING: RefCell<Option<Rc<ActiveStream>>> = const { RefCell::new(None) };
}

/// A stream with its stage.
pub struct ActiveStream {
    handle: Rc<StreamHandle>,
    vm: Rc<VmHandle>,
    /// `None` once the stage has panicked or the stream has ended.
    stage: RefCell<Option<Rc<Stream<NativeEnvoy>>>>,
    /// Set while a callback of the stage runs.
    is_busy: Cell<bool>,
}

/// Takes the stream whose request Envoy is restarting, for its next pass. Returns `None` if Envoy
/// restarts nothing, or a stream of another stage.
pub fn take_restarting(vm: &Rc<VmHandle>, envoy: FilterPtr) -> Option<Rc<ActiveStream>> {
    let stream = RESTARTING
        .with_borrow_mut(|restarting| restarting.take_if(|stream| Rc::ptr_eq(&stream.vm, vm)))?;
    stream.handle.attach(envoy);
    Some(stream)
}

/// Restarts the requests whose stages have asked for it, once no callback runs.
pub fn perform_restarts() {
    while let Some((id, headers)) = handles::take_restart() {
        let stream = STREAMS.with_borrow(|streams| streams.get(&id).and_then(Weak::upgrade));
        if let Some(stream) = stream {
            stream.restart(&headers);
        }
    }
}

impl ActiveStream {
    /// Adds a new stream; `None` if `open` doesn't make a stage.
    pub fn open(
        vm: &Rc<VmHandle>,
        envoy: FilterPtr,
        open: impl FnOnce(u32) -> Option<Stream<NativeEnvoy>>,
    ) -> Option<Rc<Self>> {
        let handle = StreamHandle::open(envoy);
        let stage = open(handle.id)?;
        let id = handle.id;
        let stream = Rc::new(Self {
            handle,
            vm: Rc::clone(vm),
            stage: RefCell::new(Some(Rc::new(stage))),
            is_busy: Cell::new(false),
        });
        STREAMS.with_borrow_mut(|streams| streams.insert(id, Rc::downgrade(&stream)));
        Some(stream)
    }

    /// Returns Envoy's object for the current pass.
    pub fn envoy(&self) -> Option<FilterPtr> {
        self.handle.envoy()
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
        let result = handles::during(&self.vm, Some(Rc::clone(&self.handle)), run);
        perform_restarts();
        result
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

    /// Ends the stream. Envoy's object is gone when this returns.
    pub fn close(&self) {
        self.handle.close();
        STREAMS.with_borrow_mut(|streams| streams.remove(&self.handle.id));
        let stage = self.stage.take();
        handles::during(&self.vm, None, || {
            panics::catch(AssertUnwindSafe(|| drop(stage)));
        });
    }

    /// Makes Envoy lead the request through its filters again.
    fn restart(self: Rc<Self>, headers: &HeaderList<'_>) {
        // From here on the hooks of this pass find no stream.
        let Some(envoy) = self.handle.detach() else {
            return;
        };
        envoy.set_headers(HeaderMap::Request, headers);
        RESTARTING.set(Some(self));
        let is_restarted = envoy.recreate_stream();
        // The next pass has taken it, unless Envoy made none or left this filter out.
        let Some(stream) = RESTARTING.take() else {
            return;
        };
        if is_restarted {
            log::error!("Envoy restarted a request without this filter");
            stream.call(|stage, host| stage.on_log(host));
            stream.close();
        } else {
            log::error!("Envoy did not restart a request");
            stream.handle.attach(envoy);
            envoy.send_response(503, &headers::json(), RESTART_REPLY);
        }
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
