//! Envoy's host calls, in the shapes that the stages use.
//!
//! The SDK's own getters panic if a header map or a property is gone; these return an empty value.

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType, Status};

use crate::headers::{self, HeaderList};

pub fn request_headers() -> HeaderList<'static> {
    HeaderList::from_pairs(
        hostcalls::get_map_bytes(MapType::HttpRequestHeaders).unwrap_or_default(),
    )
}

pub fn response_headers() -> HeaderList<'static> {
    HeaderList::from_pairs(
        hostcalls::get_map_bytes(MapType::HttpResponseHeaders).unwrap_or_default(),
    )
}

/// Replaces all request headers.
pub fn set_request_headers(headers: &HeaderList<'_>) {
    complain(
        "set the request headers",
        hostcalls::set_map_bytes(MapType::HttpRequestHeaders, headers.pairs()),
    );
}

/// Replaces all response headers.
pub fn set_response_headers(headers: &HeaderList<'_>) {
    complain(
        "set the response headers",
        hostcalls::set_map_bytes(MapType::HttpResponseHeaders, headers.pairs()),
    );
}

/// Returns the buffered part of the request's body.
pub fn request_body() -> Vec<u8> {
    body(BufferType::HttpRequestBody, 0)
}

/// Returns the buffered part of the request's body from an offset on.
pub fn request_body_from(start: usize) -> Vec<u8> {
    body(BufferType::HttpRequestBody, start)
}

/// Returns the buffered part of the response's body from an offset on.
pub fn response_body(start: usize) -> Vec<u8> {
    body(BufferType::HttpResponseBody, start)
}

fn body(buffer: BufferType, start: usize) -> Vec<u8> {
    hostcalls::get_buffer(buffer, start, usize::MAX)
        .ok()
        .flatten()
        .unwrap_or_default()
}

pub fn set_request_body(body: &[u8]) {
    complain(
        "set the request body",
        hostcalls::set_buffer(BufferType::HttpRequestBody, 0, usize::MAX, body),
    );
}

/// Replaces the first `length` bytes of the request's body and keeps the rest.
pub fn replace_request_body(length: usize, body: &[u8]) {
    complain(
        "replace the beginning of the request body",
        hostcalls::set_buffer(BufferType::HttpRequestBody, 0, length, body),
    );
}

pub fn set_response_body(body: &[u8]) {
    complain(
        "set the response body",
        hostcalls::set_buffer(BufferType::HttpResponseBody, 0, usize::MAX, body),
    );
}

/// Removes the request's trailers. Providers don't use them, and HTTP/1.1 can't carry them.
pub fn drop_request_trailers() {
    complain(
        "drop the request trailers",
        hostcalls::set_map_bytes(MapType::HttpRequestTrailers, Vec::new()),
    );
}

/// Removes the response's trailers: a provider could set any header in them.
pub fn drop_response_trailers() {
    complain(
        "drop the response trailers",
        hostcalls::set_map_bytes(MapType::HttpResponseTrailers, Vec::new()),
    );
}

/// Makes Envoy match the routes again, with the current headers.
pub fn clear_route_cache() {
    complain(
        "clear the route cache",
        hostcalls::call_foreign_function("clear_route_cache", None).map(|_| ()),
    );
}

/// Returns Envoy's response code details, such as `via_upstream` or `response_timeout`.
pub fn response_details() -> String {
    hostcalls::get_property(vec!["response", "code_details"])
        .ok()
        .flatten()
        .map(|details| String::from_utf8_lossy(&details).into_owned())
        .unwrap_or_default()
}

/// Returns the status of the response; 0 before it has one.
pub fn response_status() -> u16 {
    hostcalls::get_map_value_bytes(MapType::HttpResponseHeaders, ":status")
        .ok()
        .flatten()
        .and_then(|status| std::str::from_utf8(&status).ok()?.parse().ok())
        .unwrap_or(0)
}

/// Returns the response code details of a response that Envoy generated; `None` for an upstream's
/// response.
///
/// Source: Envoy's documentation, "response code details".
pub fn envoys_reply_details(status: u16) -> Option<String> {
    if status < 400 {
        return None;
    }
    Some(response_details()).filter(|details| details != "via_upstream")
}

/// Returns whether Envoy generated the response.
pub fn is_envoys_reply(status: u16) -> bool {
    envoys_reply_details(status).is_some()
}

/// Stores a value with the request, for Envoy's access log: `%FILTER_STATE(wasm.NAME:PLAIN)%`.
pub fn keep_for_log(name: &str, value: &str) {
    complain(
        "store a value for the access log",
        hostcalls::set_property(vec![name], Some(value.as_bytes())),
    );
}

/// Answers the request instead of the upstream.
pub fn reply(status: u16, list: &HeaderList<'_>, body: &[u8]) {
    let pairs: Vec<(&str, &str)> = list
        .pairs()
        .into_iter()
        .filter_map(|(name, value)| Some((name, std::str::from_utf8(value).ok()?)))
        .collect();
    // Envoy rewrites the body of its own replies. The mark exempts this one.
    complain(
        "mark the reply",
        hostcalls::set_map_value(MapType::HttpRequestHeaders, headers::OWN_REPLY, Some("1")),
    );
    complain(
        "reply",
        hostcalls::send_http_response(u32::from(status), pairs, Some(body)),
    );
}

/// Closes a response whose beginning the client already has: Envoy can't replace the rest.
pub fn close_response() {
    reply(504, &HeaderList::default(), b"");
}

pub fn complain(what: &str, result: Result<(), Status>) {
    if let Err(status) = result {
        log::error!("could not {what}: {status:?}");
    }
}
