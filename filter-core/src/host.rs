//! The calls that the stages make of their Envoy.
//!
//! The stages know only this trait. Its implementations are the proxy-wasm host calls and, in
//! tests, a fake Envoy.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::headers::{self, HeaderList};

/// Tells Envoy how to go on after a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Hands what has arrived to the next filter.
    Continue,
    /// Holds it until a later callback continues.
    Pause,
}

/// The kind of a metric in Envoy's own `/stats`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// Envoy's id of a metric.
pub type MetricId = u32;
/// Envoy's id of a call that this VM has dispatched.
pub type CallId = u32;

/// An entry of the data that all VMs of an Envoy share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedEntry {
    pub bytes: Vec<u8>,
    /// Changes with each write.
    pub version: u32,
}

/// A gRPC call to a cluster of Envoy.
#[derive(Debug, Clone, Copy)]
pub struct GrpcCall<'a> {
    pub cluster: &'a str,
    pub service: &'a str,
    pub method: &'a str,
    pub metadata: (&'a str, &'a str),
    pub message: &'a [u8],
    pub timeout: Duration,
}

/// The calls that the stages make of their Envoy. Those about a request, a response or a message
/// act on the one that the current callback is for.
///
/// A call that fails is logged by the implementation; a value that is gone is empty.
pub trait Host {
    /// Reads the monotonic clock.
    fn now(&self) -> Instant;

    /// Reads the wall clock.
    fn wall_clock(&self) -> SystemTime;

    /// Returns random bytes. They make ids, not secrets.
    fn random(&self) -> [u8; 16];

    /// Returns the bytes of memory in use.
    fn memory_in_use(&self) -> usize;

    fn request_headers(&self) -> HeaderList<'static>;

    /// Replaces all request headers.
    fn set_request_headers(&self, headers: &HeaderList<'_>);

    /// Adds or replaces one request header.
    fn set_request_header(&self, name: &str, value: &str);

    /// Returns the buffered part of the request's body from an offset on.
    fn request_body(&self, start: usize) -> Vec<u8>;

    /// Replaces the first `length` bytes of the buffered part of the request's body.
    fn replace_request_body(&self, length: usize, body: &[u8]);

    /// Removes the request's trailers. Providers don't use them, and HTTP/1.1 can't carry them.
    fn drop_request_trailers(&self);

    /// Makes Envoy match the routes again, with the current headers.
    fn clear_route_cache(&self);

    /// Continues a request that was paused.
    fn resume_request(&self);

    /// Returns whether this host can restart requests.
    fn can_restart(&self) -> bool {
        false
    }

    /// Ends this pass of the request through Envoy's filters after the current callback, together
    /// with its call upstream, and begins another pass with these headers. The stage goes along:
    /// the next callback is [`on_request_headers`](crate::stream::Stage::on_request_headers) of
    /// the new pass. The request is complete, but its body is gone: the stage sets it again.
    fn restart_request(&self, _headers: &HeaderList<'_>) {}

    /// Makes Envoy hold the response to this request, on its way from the upstream, until it can't
    /// break off before its beginning: until a body is complete, or the first event of a stream. A
    /// host that can't leaves the client with Envoy's own error for a response that breaks off.
    fn hold_response(&self) {}

    /// Runs a function. Returns `None` if it panicked, on a host that survives that.
    fn guard<R>(&self, function: impl FnOnce() -> R) -> Option<R> {
        Some(function())
    }

    fn response_headers(&self) -> HeaderList<'static>;

    /// Returns the status of the response; 0 before it has one.
    fn response_status(&self) -> u16;

    /// Replaces all response headers.
    fn set_response_headers(&self, headers: &HeaderList<'_>);

    /// Returns the buffered part of the response's body from an offset on.
    fn response_body(&self, start: usize) -> Vec<u8>;

    /// Replaces the buffered part of the response's body.
    fn set_response_body(&self, body: &[u8]);

    /// Removes the response's trailers: a provider could set any header in them.
    fn drop_response_trailers(&self);

    /// Continues a response that was paused.
    fn resume_response(&self);

    /// Returns Envoy's response code details, such as `via_upstream` or `response_timeout`.
    fn response_details(&self) -> String;

    /// Sends a response instead of the upstream's. Use [`Host::reply`].
    fn send_response(&self, status: u16, headers: &HeaderList<'_>, body: &[u8]);

    /// Stores a value with the request, for Envoy's access log: `%FILTER_STATE(wasm.NAME:PLAIN)%`.
    fn keep_for_log(&self, name: &str, value: &str);

    /// Makes another stream's context the one that calls act on. Returns false if it is gone.
    fn enter(&self, context: u32) -> bool;

    /// Reads an entry of the shared data.
    fn shared_data(&self, key: &str) -> Option<SharedEntry>;

    /// Writes an entry of the shared data, or removes it. With a version, writes only if the entry
    /// still has it. Returns whether it was written.
    fn set_shared_data(&self, key: &str, bytes: Option<&[u8]>, version: Option<u32>) -> bool;

    /// Dispatches a gRPC call; `None` if Envoy refuses it at once.
    fn call_grpc(&self, call: &GrpcCall<'_>) -> Option<CallId>;

    /// Returns the message of the gRPC call that the current callback is for, of `size` bytes.
    fn grpc_message(&self, size: usize) -> Option<Vec<u8>>;

    /// Dispatches an HTTP request without a body; `None` if Envoy refuses it at once.
    fn call_http(
        &self,
        cluster: &str,
        headers: Vec<(&str, &str)>,
        timeout: Duration,
    ) -> Option<CallId>;

    /// Returns the status and the body, of `size` bytes, of the HTTP call that the current callback
    /// is for; `None` if it failed.
    fn http_response(&self, size: usize) -> Option<(u16, Vec<u8>)>;

    /// Defines a metric; `None` if Envoy refuses its name.
    fn define_metric(&self, kind: MetricKind, name: &str) -> Option<MetricId>;

    /// Adds to a counter or a gauge. The amount isn't 0, which is an error in Envoy.
    fn increment_metric(&self, metric: MetricId, amount: i64);

    /// Adds a value to a histogram.
    fn record_metric(&self, metric: MetricId, value: u64);

    /// Returns the milliseconds since 1970.
    fn unix_millis(&self) -> u64 {
        let elapsed = self.wall_clock().duration_since(UNIX_EPOCH);
        u64::try_from(elapsed.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns the seconds since 1970.
    fn unix_seconds(&self) -> u64 {
        self.unix_millis() / 1000
    }

    /// Replaces the request's body.
    fn set_request_body(&self, body: &[u8]) {
        self.replace_request_body(usize::MAX, body);
    }

    /// Returns the response code details of a response that Envoy generated; `None` for an
    /// upstream's response.
    ///
    /// Source: Envoy's documentation, "response code details".
    fn envoys_reply_details(&self, status: u16) -> Option<String> {
        if status < 400 {
            return None;
        }
        Some(self.response_details()).filter(|details| details != "via_upstream")
    }

    /// Returns whether Envoy generated the response.
    fn is_envoys_reply(&self, status: u16) -> bool {
        self.envoys_reply_details(status).is_some()
    }

    /// Answers the request instead of the upstream.
    fn reply(&self, status: u16, headers: &HeaderList<'_>, body: &[u8]) {
        // Envoy rewrites the body of its own replies. The mark exempts this one.
        self.set_request_header(headers::OWN_REPLY, "1");
        self.send_response(status, headers, body);
    }

    /// Closes a response whose beginning the client already has: Envoy can't replace the rest.
    fn close_response(&self) {
        self.reply(504, &HeaderList::default(), b"");
    }
}
