//! The host calls of the stages, by Envoy's interface for dynamic modules.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use opentracy_filter_core::headers::HeaderList;
use opentracy_filter_core::host::{CallId, GrpcCall, Host, MetricId, MetricKind, SharedEntry};
use opentracy_filter_core::random;

use crate::abi::HeaderMap;
use crate::cluster_calls::{self, WorkerEvent};
use crate::filter_calls::{BodySide, FilterPtr};
use crate::handles::{self, LaterStep};
use crate::{allocator, hold, metrics, panics, shared_data};

/// The Envoy that this module is loaded in.
#[derive(Debug, Clone, Copy)]
pub struct NativeEnvoy;

thread_local! {
    /// The message of the gRPC call that the current callback is for.
    static MESSAGE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The response to the HTTP call that the current callback is for; `None` if it failed.
    static RESPONSE: RefCell<Option<(u16, Vec<u8>)>> = const { RefCell::new(None) };
}

/// Sets the message for the next callback, and returns its size.
pub fn set_message(message: Vec<u8>) -> usize {
    let size = message.len();
    MESSAGE.set(message);
    size
}

/// Sets the response to an HTTP call for the next callback, and returns the size of its body.
pub fn set_response(response: Option<(u16, Vec<u8>)>) -> usize {
    let size = response.as_ref().map_or(0, |(_, body)| body.len());
    RESPONSE.set(response);
    size
}

/// Acts on the current stream, or returns a value for none if it is gone.
fn on_stream<R: Default>(act: impl FnOnce(FilterPtr) -> R) -> R {
    handles::envoy().map(act).unwrap_or_default()
}

/// Acts on the current stream, and logs a call that Envoy refused.
fn try_on_stream(what: &str, act: impl FnOnce(FilterPtr) -> bool) {
    if !on_stream(act) {
        log::error!("could not {what}");
    }
}

fn later(step: LaterStep) {
    if let Some(stream) = handles::stream() {
        stream.later(step);
    }
}

impl Host for NativeEnvoy {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall_clock(&self) -> SystemTime {
        SystemTime::now()
    }

    fn random(&self) -> [u8; 16] {
        random::bytes()
    }

    fn memory_in_use(&self) -> usize {
        allocator::share_of_a_vm()
    }

    fn request_headers(&self) -> HeaderList<'static> {
        HeaderList::from_pairs(on_stream(|stream| stream.headers(HeaderMap::Request)))
    }

    fn set_request_headers(&self, headers: &HeaderList<'_>) {
        try_on_stream("set the request headers", |stream| {
            stream.set_headers(HeaderMap::Request, headers)
        });
    }

    fn set_request_header(&self, name: &str, value: &str) {
        try_on_stream("set a request header", |stream| {
            stream.set_header(HeaderMap::Request, name, value.as_bytes())
        });
    }

    fn request_body(&self, start: usize) -> Vec<u8> {
        on_stream(|stream| stream.body(BodySide::Request, start))
    }

    fn replace_request_body(&self, length: usize, body: &[u8]) {
        try_on_stream("replace the request body", |stream| {
            stream.replace_body(BodySide::Request, length, body)
        });
    }

    fn drop_request_trailers(&self) {
        try_on_stream("drop the request trailers", |stream| {
            stream.clear_headers(HeaderMap::RequestTrailers)
        });
    }

    fn clear_route_cache(&self) {
        on_stream(FilterPtr::clear_route_cache);
    }

    fn resume_request(&self) {
        later(LaterStep::Resume(BodySide::Request));
    }

    fn can_restart(&self) -> bool {
        true
    }

    fn restart_request(&self, headers: &HeaderList<'_>) {
        if let Some(stream) = handles::stream() {
            stream.restart_later(headers.to_owned());
        }
    }

    fn hold_response(&self) {
        try_on_stream("have the response held", |stream| {
            stream.set_state(hold::KEY, "1")
        });
    }

    fn guard<R>(&self, function: impl FnOnce() -> R) -> Option<R> {
        panics::catch(AssertUnwindSafe(function))
    }

    fn response_headers(&self) -> HeaderList<'static> {
        HeaderList::from_pairs(on_stream(|stream| stream.headers(HeaderMap::Response)))
    }

    fn response_status(&self) -> u16 {
        let status = on_stream(|stream| stream.header(HeaderMap::Response, ":status"));
        status
            .and_then(|status| std::str::from_utf8(&status).ok()?.parse().ok())
            .unwrap_or(0)
    }

    fn set_response_headers(&self, headers: &HeaderList<'_>) {
        try_on_stream("set the response headers", |stream| {
            stream.set_headers(HeaderMap::Response, headers)
        });
    }

    fn response_body(&self, start: usize) -> Vec<u8> {
        on_stream(|stream| stream.body(BodySide::Response, start))
    }

    fn set_response_body(&self, body: &[u8]) {
        try_on_stream("set the response body", |stream| {
            stream.replace_body(BodySide::Response, usize::MAX, body)
        });
    }

    fn drop_response_trailers(&self) {
        try_on_stream("drop the response trailers", |stream| {
            stream.clear_headers(HeaderMap::ResponseTrailers)
        });
    }

    fn resume_response(&self) {
        later(LaterStep::Resume(BodySide::Response));
    }

    fn response_details(&self) -> String {
        on_stream(FilterPtr::response_details)
    }

    fn send_response(&self, status: u16, headers: &HeaderList<'_>, body: &[u8]) {
        later(LaterStep::Reply(status, headers.to_owned(), body.to_vec()));
    }

    fn keep_for_log(&self, name: &str, value: &str) {
        // The name that the wasm filter's values have.
        let key = format!("wasm.{name}");
        try_on_stream("store a value for the access log", |stream| {
            stream.set_state(&key, value)
        });
    }

    fn enter(&self, context: u32) -> bool {
        handles::enter(context)
    }

    fn shared_data(&self, key: &str) -> Option<SharedEntry> {
        shared_data::get(key)
    }

    fn set_shared_data(&self, key: &str, bytes: Option<&[u8]>, version: Option<u32>) -> bool {
        shared_data::set(key, bytes, version)
    }

    fn call_grpc(&self, call: &GrpcCall<'_>) -> Option<CallId> {
        let vm = handles::vm()?;
        match handles::stream() {
            Some(stream) => {
                let scheduler = stream.envoy()?.scheduler();
                let inbox = Arc::clone(&stream.inbox);
                vm.client.call(call, move |answer| {
                    let event = u64::from(answer.call);
                    inbox.push(answer);
                    scheduler.commit(event);
                })
            }
            None => {
                let inbox = Arc::clone(&vm.inbox);
                vm.client.call(call, move |answer| {
                    inbox.push(answer);
                    cluster_calls::notify_workers(WorkerEvent::Answers);
                })
            }
        }
    }

    fn grpc_message(&self, _: usize) -> Option<Vec<u8>> {
        Some(MESSAGE.take())
    }

    fn call_http(
        &self,
        cluster: &str,
        headers: Vec<(&str, &str)>,
        timeout: Duration,
    ) -> Option<CallId> {
        match handles::envoy()?.call_http(cluster, &headers, timeout) {
            Ok(call) => u32::try_from(call).ok(),
            Err(reason) => {
                log::error!("could not call the cluster {cluster}: reason {reason}");
                None
            }
        }
    }

    fn http_response(&self, _: usize) -> Option<(u16, Vec<u8>)> {
        RESPONSE.take()
    }

    fn define_metric(&self, kind: MetricKind, name: &str) -> Option<MetricId> {
        metrics::define(kind, name)
    }

    fn increment_metric(&self, metric: MetricId, amount: i64) {
        metrics::increment(metric, amount);
    }

    fn record_metric(&self, metric: MetricId, value: u64) {
        metrics::record(metric, value);
    }
}
