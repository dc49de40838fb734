//! Deadlines of active streams.
//!
//! Envoy's own timeouts end once a response has begun, so a provider that sends headers and then
//! nothing would leave its client hanging. The root context checks all streams of its VM on every
//! tick.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

/// The time by which a stream has to make progress.
///
/// Progress is only marked, and the next tick counts the timeout from there: a chunk of a stream
/// doesn't read the clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Deadline {
    timeout: Duration,
    until: Option<Instant>,
    has_progressed: bool,
}

impl Deadline {
    /// Returns the deadline that is `timeout` from now.
    pub fn after(timeout: Duration) -> Self {
        Self {
            timeout,
            until: Some(Instant::now() + timeout),
            has_progressed: false,
        }
    }

    /// Starts the timeout again, or ends the deadline with the stream.
    pub fn progress(&mut self, end_of_stream: bool) {
        if end_of_stream {
            self.until = None;
        } else {
            self.has_progressed = true;
        }
    }

    /// Returns true once if the deadline has passed.
    fn expire(&mut self, now: Instant) -> bool {
        if std::mem::take(&mut self.has_progressed) && self.until.is_some() {
            self.until = Some(now + self.timeout);
        }
        self.until.take_if(|until| *until <= now).is_some()
    }
}

/// A stream that can be ended from outside.
pub trait Timed {
    /// Returns the deadline; `None` in a state that has none.
    fn deadline(&mut self) -> Option<&mut Deadline>;

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
        let mut stream = stream.borrow_mut();
        stream.deadline().is_some_and(|own| own.expire(now))
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
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[derive(Default)]
    struct Stream {
        deadline: Option<Deadline>,
    }

    impl Timed for Stream {
        fn deadline(&mut self) -> Option<&mut Deadline> {
            self.deadline.as_mut()
        }

        fn on_deadline(&mut self) {}
    }

    #[test]
    fn a_deadline_passes_once_and_progress_starts_it_again() {
        let mut deadline = Deadline::after(SECOND);
        let start = deadline.until.unwrap() - SECOND;
        assert!(!deadline.expire(start));
        deadline.progress(false);
        assert!(!deadline.expire(start + SECOND));
        assert!(!deadline.expire(start + SECOND.mul_f32(1.9)));
        assert!(deadline.expire(start + SECOND * 2));
        deadline.progress(false);
        assert!(!deadline.expire(start + SECOND * 4), "it has passed");
        let mut ended = Deadline::after(SECOND);
        ended.progress(true);
        assert!(!ended.expire(start + SECOND * 4));
    }

    #[test]
    fn streams_are_overdue_from_their_deadline_on_for_as_long_as_they_live() {
        let [without, early, late] = [1, 2, 3].map(Watched::<Stream>::new);
        let restart = || {
            early.stream.borrow_mut().deadline = Some(Deadline::after(Duration::ZERO));
            late.stream.borrow_mut().deadline = Some(Deadline::after(SECOND * 100));
        };
        let numbers = |now| {
            let overdue = overdue(now);
            overdue.iter().map(|(id, _)| *id).collect::<Vec<_>>()
        };
        restart();
        let now = Instant::now();
        assert_eq!(numbers(now), [2]);
        restart();
        assert_eq!(numbers(now + SECOND * 200), [2, 3]);
        restart();
        drop(early);
        assert_eq!(numbers(now + SECOND * 200), [3]);
        drop((without, late));
    }
}
