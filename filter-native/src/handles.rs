//! The stream and the VM that the current callback is for, and the calls that wait for its end.
//!
//! A call that makes Envoy go on, such as a reply, may make it call hooks of this and other streams
//! at once, and end the stream. A stage that is in the middle of a callback can't take that, so
//! such calls wait for the end of the callback.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, PoisonError};

use opentracy_filter_core::headers::HeaderList;

use crate::client::{GrpcAnswer, GrpcClient};
use crate::filter_calls::{BodySide, FilterPtr};

thread_local! {
    /// The streams of this thread, by the id of their context.
    static STREAMS: RefCell<HashMap<u32, Weak<StreamHandle>>> = RefCell::default();
    static LAST_ID: Cell<u32> = const { Cell::new(0) };
    /// The stream that calls of Envoy act on.
    static STREAM: RefCell<Option<Rc<StreamHandle>>> = const { RefCell::new(None) };
    /// The VM whose callback runs.
    static VM: RefCell<Option<Rc<VmHandle>>> = const { RefCell::new(None) };
    static WAITING: RefCell<VecDeque<(Rc<StreamHandle>, LaterStep)>> =
        const { RefCell::new(VecDeque::new()) };
    /// The streams whose request is to be restarted, with the request's headers.
    static RESTARTS: RefCell<VecDeque<(u32, HeaderList<'static>)>> =
        const { RefCell::new(VecDeque::new()) };
}

/// The answers to calls, on their way from the client's thread to a worker.
#[derive(Default)]
pub struct Inbox(Mutex<Vec<GrpcAnswer>>);

impl Inbox {
    pub fn push(&self, answer: GrpcAnswer) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.push(answer);
    }

    pub fn take(&self) -> Vec<GrpcAnswer> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A stage's VM on this thread.
pub struct VmHandle {
    /// Its number in [`opentracy_filter_core::vm`].
    pub number: usize,
    pub client: GrpcClient,
    /// The answers to the calls of its root context.
    pub inbox: Arc<Inbox>,
}

/// A call that makes Envoy go on.
pub enum LaterStep {
    Reply(u16, HeaderList<'static>, Vec<u8>),
    Resume(BodySide),
}

/// One filter of one stream.
pub struct StreamHandle {
    pub id: u32,
    /// `None` once Envoy has ended the filter.
    envoy: Cell<Option<FilterPtr>>,
    has_replied: Cell<bool>,
    /// The answers to the calls of this stream.
    pub inbox: Arc<Inbox>,
}

impl StreamHandle {
    /// Adds a stream.
    pub fn open(envoy: FilterPtr) -> Rc<Self> {
        let id = LAST_ID.get().wrapping_add(1).max(1);
        LAST_ID.set(id);
        let stream = Rc::new(Self {
            id,
            envoy: Cell::new(Some(envoy)),
            has_replied: Cell::new(false),
            inbox: Arc::default(),
        });
        STREAMS.with_borrow_mut(|streams| streams.insert(id, Rc::downgrade(&stream)));
        stream
    }

    /// Takes Envoy's object for the next pass of the request.
    pub fn attach(&self, envoy: FilterPtr) {
        self.envoy.set(Some(envoy));
    }

    /// Forgets Envoy's object, because this pass of the request ends.
    pub fn detach(&self) -> Option<FilterPtr> {
        self.envoy.take()
    }

    /// Forgets Envoy's object, because the stream ends.
    pub fn close(&self) {
        self.envoy.set(None);
        STREAMS.with_borrow_mut(|streams| streams.remove(&self.id));
    }

    pub fn envoy(&self) -> Option<FilterPtr> {
        self.envoy.get()
    }

    /// Lets a call wait for the end of the callback.
    pub fn later(self: &Rc<Self>, step: LaterStep) {
        WAITING.with_borrow_mut(|waiting| waiting.push_back((Rc::clone(self), step)));
    }

    /// Restarts the request after the end of the callback.
    pub fn restart_later(&self, headers: HeaderList<'static>) {
        RESTARTS.with_borrow_mut(|restarts| restarts.push_back((self.id, headers)));
    }

    /// Drops the calls that wait.
    pub fn forget_steps(self: &Rc<Self>) {
        WAITING.with_borrow_mut(|waiting| {
            waiting.retain(|(stream, _)| !Rc::ptr_eq(stream, self));
        });
    }

    fn perform(&self, step: LaterStep) {
        let Some(envoy) = self.envoy.get() else {
            return;
        };
        match step {
            LaterStep::Reply(status, headers, body) => {
                self.has_replied.set(true);
                envoy.send_response(status, &headers, &body);
            }
            // Envoy ends a stream that was answered by itself.
            LaterStep::Resume(_) if self.has_replied.get() => {}
            LaterStep::Resume(body) => envoy.resume(body),
        }
    }
}

/// Runs a callback of a VM, in which calls of Envoy act on this stream. Afterwards runs the calls
/// that waited for its end.
pub fn during<R>(
    vm: &Rc<VmHandle>,
    stream: Option<Rc<StreamHandle>>,
    callback: impl FnOnce() -> R,
) -> R {
    let before = Before {
        vm: VM.replace(Some(Rc::clone(vm))),
        stream: STREAM.replace(stream),
    };
    let result = opentracy_filter_core::vm::enter(vm.number, callback);
    let is_outermost = before.vm.is_none();
    drop(before);
    if is_outermost {
        perform_steps();
    }
    result
}

/// The callback before the current one. Dropping this restores it, even if the current one panics.
struct Before {
    vm: Option<Rc<VmHandle>>,
    stream: Option<Rc<StreamHandle>>,
}

impl Drop for Before {
    fn drop(&mut self) {
        VM.set(self.vm.take());
        STREAM.set(self.stream.take());
    }
}

fn perform_steps() {
    while let Some((stream, step)) = WAITING.with_borrow_mut(VecDeque::pop_front) {
        stream.perform(step);
    }
}

/// Takes the next restart, once no callback runs: the id of a stream, and the headers.
pub fn take_restart() -> Option<(u32, HeaderList<'static>)> {
    if VM.with_borrow(Option::is_some) {
        return None;
    }
    RESTARTS.with_borrow_mut(VecDeque::pop_front)
}

/// Returns the stream that calls of Envoy act on.
pub fn stream() -> Option<Rc<StreamHandle>> {
    STREAM.with_borrow(Clone::clone)
}

/// Returns Envoy's object for the stream that calls act on.
pub fn envoy() -> Option<FilterPtr> {
    STREAM.with_borrow(|stream| stream.as_ref()?.envoy.get())
}

/// Returns the VM whose callback runs.
pub fn vm() -> Option<Rc<VmHandle>> {
    VM.with_borrow(Clone::clone)
}

/// Makes calls of Envoy act on the stream with this id, or on none if it is gone.
/// Returns whether there is.
pub fn enter(id: u32) -> bool {
    let stream = STREAMS.with_borrow(|streams| streams.get(&id).and_then(Weak::upgrade));
    let is_there = stream.is_some();
    STREAM.set(stream);
    is_there
}
