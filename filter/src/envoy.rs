//! Envoy's host calls by proxy-wasm.
//!
//! The SDK's own getters panic if a header map or a property is gone; these return an empty value.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType, MetricType, Status};

use crate::allocator;
use crate::map_calls::headers;
use opentracy_filter_core::headers::HeaderList;
use opentracy_filter_core::host::{CallId, GrpcCall, Host, MetricId, MetricKind, SharedEntry};
use opentracy_filter_core::random;

/// The Envoy that this VM runs in.
#[derive(Debug, Clone, Copy)]
pub struct Envoy;

thread_local! {
    static CLOCK: Cell<Clock> = Cell::new(Clock::read());
}

/// The clocks, which are read at most once in a callback.
#[derive(Clone, Copy)]
struct Clock {
    /// Both clocks at the same time.
    base: (Instant, SystemTime),
    now: Instant,
    is_read: bool,
}

impl Clock {
    fn read() -> Self {
        let now = Instant::now();
        Self {
            base: (now, SystemTime::now()),
            now,
            is_read: true,
        }
    }

    /// Returns the clock as it is in this callback.
    fn get() -> Self {
        let mut clock = CLOCK.get();
        if !clock.is_read {
            clock.now = Instant::now();
            clock.is_read = true;
            CLOCK.set(clock);
        }
        clock
    }
}

/// Begins a callback, in which time stands still.
pub fn begin_callback() {
    let mut clock = CLOCK.get();
    clock.is_read = false;
    CLOCK.set(clock);
}

/// Reads both clocks again, because the wall clock may be adjusted.
pub fn adjust_clocks() {
    CLOCK.set(Clock::read());
}

impl Host for Envoy {
    fn now(&self) -> Instant {
        Clock::get().now
    }

    fn wall_clock(&self) -> SystemTime {
        let clock = Clock::get();
        let (instant, wall) = clock.base;
        wall + clock.now.duration_since(instant)
    }

    fn random(&self) -> [u8; 16] {
        random::bytes()
    }

    fn memory_in_use(&self) -> usize {
        allocator::allocated()
    }

    fn request_headers(&self) -> HeaderList<'static> {
        headers(MapType::HttpRequestHeaders)
    }

    fn set_request_headers(&self, headers: &HeaderList<'_>) {
        check(
            "set the request headers",
            hostcalls::set_map_bytes(MapType::HttpRequestHeaders, headers.pairs()),
        );
    }

    fn set_request_header(&self, name: &str, value: &str) {
        check(
            "set a request header",
            hostcalls::set_map_value(MapType::HttpRequestHeaders, name, Some(value)),
        );
    }

    fn request_body(&self, start: usize) -> Vec<u8> {
        body(BufferType::HttpRequestBody, start)
    }

    fn replace_request_body(&self, length: usize, body: &[u8]) {
        check(
            "replace the request body",
            hostcalls::set_buffer(BufferType::HttpRequestBody, 0, length, body),
        );
    }

    fn drop_request_trailers(&self) {
        check(
            "drop the request trailers",
            hostcalls::set_map_bytes(MapType::HttpRequestTrailers, Vec::new()),
        );
    }

    fn clear_route_cache(&self) {
        check(
            "clear the route cache",
            hostcalls::call_foreign_function("clear_route_cache", None).map(|_| ()),
        );
    }

    fn resume_request(&self) {
        check("resume the request", hostcalls::resume_http_request());
    }

    fn response_headers(&self) -> HeaderList<'static> {
        headers(MapType::HttpResponseHeaders)
    }

    fn response_status(&self) -> u16 {
        status(MapType::HttpResponseHeaders).unwrap_or(0)
    }

    fn set_response_headers(&self, headers: &HeaderList<'_>) {
        check(
            "set the response headers",
            hostcalls::set_map_bytes(MapType::HttpResponseHeaders, headers.pairs()),
        );
    }

    fn response_body(&self, start: usize) -> Vec<u8> {
        body(BufferType::HttpResponseBody, start)
    }

    fn set_response_body(&self, body: &[u8]) {
        check(
            "set the response body",
            hostcalls::set_buffer(BufferType::HttpResponseBody, 0, usize::MAX, body),
        );
    }

    fn drop_response_trailers(&self) {
        check(
            "drop the response trailers",
            hostcalls::set_map_bytes(MapType::HttpResponseTrailers, Vec::new()),
        );
    }

    fn resume_response(&self) {
        check("resume the response", hostcalls::resume_http_response());
    }

    fn response_details(&self) -> String {
        hostcalls::get_property(vec!["response", "code_details"])
            .ok()
            .flatten()
            .map(|details| String::from_utf8_lossy(&details).into_owned())
            .unwrap_or_default()
    }

    fn send_response(&self, status: u16, headers: &HeaderList<'_>, body: &[u8]) {
        let pairs: Vec<(&str, &str)> = headers
            .pairs()
            .into_iter()
            .filter_map(|(name, value)| Some((name, std::str::from_utf8(value).ok()?)))
            .collect();
        check(
            "reply",
            hostcalls::send_http_response(u32::from(status), pairs, Some(body)),
        );
    }

    fn keep_for_log(&self, name: &str, value: &str) {
        check(
            "store a value for the access log",
            hostcalls::set_property(vec![name], Some(value.as_bytes())),
        );
    }

    fn enter(&self, context: u32) -> bool {
        hostcalls::set_effective_context(context).is_ok()
    }

    fn shared_data(&self, key: &str) -> Option<SharedEntry> {
        let (bytes, version) = hostcalls::get_shared_data(key).ok()?;
        Some(SharedEntry {
            bytes: bytes?,
            version: version.unwrap_or_default(),
        })
    }

    fn set_shared_data(&self, key: &str, bytes: Option<&[u8]>, version: Option<u32>) -> bool {
        match hostcalls::set_shared_data(key, bytes, version) {
            // Another VM was first.
            Err(Status::CasMismatch) => false,
            result => check("write shared data", result),
        }
    }

    fn call_grpc(&self, call: &GrpcCall<'_>) -> Option<CallId> {
        let (name, value) = call.metadata;
        hostcalls::dispatch_grpc_call(
            call.cluster,
            call.service,
            call.method,
            vec![(name, value.as_bytes())],
            Some(call.message),
            call.timeout,
        )
        .ok()
    }

    fn grpc_message(&self, size: usize) -> Option<Vec<u8>> {
        hostcalls::get_buffer(BufferType::GrpcReceiveBuffer, 0, size)
            .ok()
            .flatten()
    }

    fn call_http(
        &self,
        cluster: &str,
        headers: Vec<(&str, &str)>,
        timeout: Duration,
    ) -> Option<CallId> {
        hostcalls::dispatch_http_call(cluster, headers, None, Vec::new(), timeout).ok()
    }

    fn http_response(&self, size: usize) -> Option<(u16, Vec<u8>)> {
        let body = hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, size);
        Some((
            status(MapType::HttpCallResponseHeaders)?,
            body.ok()?.unwrap_or_default(),
        ))
    }

    fn define_metric(&self, kind: MetricKind, name: &str) -> Option<MetricId> {
        let kind = match kind {
            MetricKind::Counter => MetricType::Counter,
            MetricKind::Gauge => MetricType::Gauge,
            MetricKind::Histogram => MetricType::Histogram,
        };
        hostcalls::define_metric(kind, name).ok()
    }

    fn increment_metric(&self, metric: MetricId, amount: i64) {
        check("count", hostcalls::increment_metric(metric, amount));
    }

    fn record_metric(&self, metric: MetricId, value: u64) {
        check("record", hostcalls::record_metric(metric, value));
    }
}

fn body(buffer: BufferType, start: usize) -> Vec<u8> {
    hostcalls::get_buffer(buffer, start, usize::MAX)
        .ok()
        .flatten()
        .unwrap_or_default()
}

fn status(map: MapType) -> Option<u16> {
    let status = hostcalls::get_map_value_bytes(map, ":status").ok()??;
    std::str::from_utf8(&status).ok()?.parse().ok()
}

/// Logs a call that Envoy refused. Returns whether it succeeded.
fn check(what: &str, result: Result<(), Status>) -> bool {
    if let Err(status) = &result {
        log::error!("could not {what}: {status:?}");
    }
    result.is_ok()
}
