//! Deadlines of active streams.
//!
//! Envoy's own timeouts end once a response has begun, so a provider that sends headers and then
//! nothing would leave its client hanging. The root context checks all streams of its VM on every
//! tick.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Instant;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

/// A stream that can be ended from outside.
pub trait Timed {
    /// Returns the time at which to end the stream; `None` if it has no deadline.
    fn deadline(&self) -> Option<Instant>;

    /// Ends the stream. Host calls act on it while this runs.
    fn on_deadline(&mut self);
}

thread_local! {
    static STREAMS: RefCell<BTreeMap<u32, Weak<RefCell<dyn Timed>>>> = const { RefCell::new(BTreeMap::new()) };
}

/// An HTTP context whose deadline is watched while it lives.
pub struct Watched<T> {
    id: u32,
    stream: Rc<RefCell<T>>,
}

impl<T: Timed + Default + 'static> Watched<T> {
    /// Creates the context with this id.
    pub fn new(id: u32) -> Self {
        let stream = Rc::new(RefCell::new(T::default()));
        let timed: Rc<RefCell<dyn Timed>> = stream.clone();
        STREAMS.with_borrow_mut(|streams| streams.insert(id, Rc::downgrade(&timed)));
        Self { id, stream }
    }
}

impl<T> Drop for Watched<T> {
    fn drop(&mut self) {
        STREAMS.with_borrow_mut(|streams| streams.remove(&self.id));
    }
}

/// Ends the streams whose deadline has passed. `root` is the id of the root context.
pub fn on_tick(root: u32) {
    let overdue = overdue(Instant::now());
    if overdue.is_empty() {
        return;
    }
    for (id, stream) in overdue {
        if hostcalls::set_effective_context(id).is_ok() {
            stream.borrow_mut().on_deadline();
        }
    }
    // Fails only if the VM is already gone.
    let _ = hostcalls::set_effective_context(root);
}

fn overdue(now: Instant) -> Vec<(u32, Rc<RefCell<dyn Timed>>)> {
    let is_over = |stream: &Rc<RefCell<dyn Timed>>| {
        let deadline = stream.borrow().deadline();
        deadline.is_some_and(|deadline| deadline <= now)
    };
    STREAMS.with_borrow(|streams| {
        let streams = streams
            .iter()
            .filter_map(|(id, stream)| Some((*id, stream.upgrade()?)));
        streams.filter(|(_, stream)| is_over(stream)).collect()
    })
}

impl<T: HttpContext> HttpContext for Watched<T> {
    fn on_http_request_headers(&mut self, headers: usize, end_of_stream: bool) -> Action {
        let mut stream = self.stream.borrow_mut();
        stream.on_http_request_headers(headers, end_of_stream)
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        let mut stream = self.stream.borrow_mut();
        stream.on_http_request_body(size, end_of_stream)
    }

    fn on_http_request_trailers(&mut self, trailers: usize) -> Action {
        self.stream.borrow_mut().on_http_request_trailers(trailers)
    }

    fn on_http_response_headers(&mut self, headers: usize, end_of_stream: bool) -> Action {
        let mut stream = self.stream.borrow_mut();
        stream.on_http_response_headers(headers, end_of_stream)
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        let mut stream = self.stream.borrow_mut();
        stream.on_http_response_body(size, end_of_stream)
    }

    fn on_http_response_trailers(&mut self, trailers: usize) -> Action {
        self.stream.borrow_mut().on_http_response_trailers(trailers)
    }

    fn on_log(&mut self) {
        self.stream.borrow_mut().on_log();
    }
}

impl<T: Context> Context for Watched<T> {
    fn on_http_call_response(&mut self, call: u32, headers: usize, size: usize, trailers: usize) {
        let mut stream = self.stream.borrow_mut();
        stream.on_http_call_response(call, headers, size, trailers);
    }

    fn on_grpc_call_response(&mut self, call: u32, status: u32, size: usize) {
        let mut stream = self.stream.borrow_mut();
        stream.on_grpc_call_response(call, status, size);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Default)]
    struct Stream {
        deadline: Option<Instant>,
    }

    impl Timed for Stream {
        fn deadline(&self) -> Option<Instant> {
            self.deadline
        }

        fn on_deadline(&mut self) {}
    }

    #[test]
    fn streams_are_overdue_from_their_deadline_on_for_as_long_as_they_live() {
        let now = Instant::now();
        let [without, early, late] = [1, 2, 3].map(Watched::<Stream>::new);
        early.stream.borrow_mut().deadline = Some(now);
        late.stream.borrow_mut().deadline = Some(now + Duration::from_secs(1));
        let numbers = |now| {
            let overdue = overdue(now);
            overdue.iter().map(|(id, _)| *id).collect::<Vec<_>>()
        };
        assert_eq!(numbers(now), [2]);
        assert_eq!(numbers(now + Duration::from_secs(1)), [2, 3]);
        drop(early);
        assert_eq!(numbers(now + Duration::from_secs(1)), [3]);
        drop((without, late));
    }
}
