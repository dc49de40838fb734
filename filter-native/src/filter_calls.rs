//! Safe calls of Envoy about one stream.

#![allow(unsafe_code)]

use std::time::Duration;

use opentracy_filter_core::headers::HeaderList;

use crate::abi::{self, BodyPart, EnvoyBuffer, EnvoyHeader, EnvoyPtr, HeaderMap};
use crate::buffers::{self, NOTHING, header_to_envoy, to_envoy};

/// Envoy's object for a stream and this filter.
///
/// It is used on the stream's own thread only, and not after the stream's end:
/// [`crate::handles::StreamHandle`] forgets it then. The safety of all calls here rests on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterPtr(EnvoyPtr);

/// The two directions of a stream, as parts of its body.
#[derive(Debug, Clone, Copy)]
pub enum BodySide {
    Request,
    Response,
}

impl BodySide {
    /// Returns the part that was held back, and the part that a body hook is for, in the order of
    /// their bytes.
    const fn parts(self) -> [BodyPart; 2] {
        match self {
            Self::Request => [BodyPart::BufferedRequest, BodyPart::ReceivedRequest],
            Self::Response => [BodyPart::BufferedResponse, BodyPart::ReceivedResponse],
        }
    }
}

impl FilterPtr {
    /// Wraps the pointer that a hook got.
    pub const fn new(filter: EnvoyPtr) -> Self {
        Self(filter)
    }

    pub fn headers(self, map: HeaderMap) -> Vec<(String, Vec<u8>)> {
        // SAFETY: see `FilterPtr`.
        let size = unsafe { abi::envoy_dynamic_module_callback_http_get_headers_size(self.0, map) };
        let mut headers: Vec<EnvoyHeader> = Vec::with_capacity(size);
        // SAFETY: see `FilterPtr`; there is room for `size` headers.
        let is_there = size > 0
            && unsafe {
                abi::envoy_dynamic_module_callback_http_get_headers(
                    self.0,
                    map,
                    headers.as_mut_ptr(),
                )
            };
        if !is_there {
            return Vec::new();
        }
        // SAFETY: Envoy has filled in `size` headers.
        unsafe { headers.set_len(size) };
        let own = |header: &EnvoyHeader| {
            // SAFETY: Envoy's headers stay as they are until the module changes them.
            let (name, value) = unsafe {
                (
                    buffers::bytes(header.name, header.name_length),
                    buffers::bytes(header.value, header.value_length),
                )
            };
            (String::from_utf8_lossy(name).into_owned(), value.to_owned())
        };
        headers.iter().map(own).collect()
    }

    pub fn header(self, map: HeaderMap, name: &str) -> Option<Vec<u8>> {
        let mut value = EnvoyBuffer {
            data: std::ptr::null(),
            length: 0,
        };
        // SAFETY: see `FilterPtr`; `value` is valid for writes.
        let is_there = unsafe {
            abi::envoy_dynamic_module_callback_http_get_header(
                self.0,
                map,
                to_envoy(name.as_bytes()),
                &raw mut value,
                0,
                std::ptr::null_mut(),
            )
        };
        // SAFETY: Envoy's value stays as it is until the module changes it.
        is_there.then(|| unsafe { buffers::bytes(value.data, value.length) }.to_owned())
    }

    /// Replaces all headers of a map.
    pub fn set_headers(self, map: HeaderMap, headers: &HeaderList<'_>) -> bool {
        let pairs = headers.pairs();
        let mut is_done = true;
        for (name, _) in self.headers(map) {
            if !pairs.iter().any(|(kept, _)| *kept == name) {
                is_done &= self.remove_header(map, &name);
            }
        }
        for (index, (name, value)) in pairs.iter().enumerate() {
            let is_first = !pairs.iter().take(index).any(|(earlier, _)| earlier == name);
            is_done &= if is_first {
                self.set_header(map, name, value)
            } else {
                self.add_header(map, name, value)
            };
        }
        is_done
    }

    pub fn set_header(self, map: HeaderMap, name: &str, value: &[u8]) -> bool {
        let (name, value) = (to_envoy(name.as_bytes()), to_envoy(value));
        // SAFETY: see `FilterPtr`.
        unsafe { abi::envoy_dynamic_module_callback_http_set_header(self.0, map, name, value) }
    }

    fn add_header(self, map: HeaderMap, name: &str, value: &[u8]) -> bool {
        let (name, value) = (to_envoy(name.as_bytes()), to_envoy(value));
        // SAFETY: see `FilterPtr`.
        unsafe { abi::envoy_dynamic_module_callback_http_add_header(self.0, map, name, value) }
    }

    fn remove_header(self, map: HeaderMap, name: &str) -> bool {
        let name = to_envoy(name.as_bytes());
        // SAFETY: see `FilterPtr`.
        unsafe { abi::envoy_dynamic_module_callback_http_set_header(self.0, map, name, NOTHING) }
    }

    /// Removes all headers of a map.
    pub fn clear_headers(self, map: HeaderMap) -> bool {
        self.set_headers(map, &HeaderList::default())
    }

    /// Returns the bytes of a body that Envoy holds.
    pub fn body_size(self, body: BodySide) -> usize {
        let size = |part| {
            // SAFETY: see `FilterPtr`.
            unsafe { abi::envoy_dynamic_module_callback_http_get_body_size(self.0, part) }
        };
        body.parts().map(size).into_iter().sum()
    }

    /// Returns the body that Envoy holds, from an offset on.
    pub fn body(self, body: BodySide, start: usize) -> Vec<u8> {
        let mut pieces = Vec::new();
        for part in body.parts() {
            self.add_pieces(part, &mut pieces);
        }
        let mut copied = Vec::new();
        // SAFETY: Envoy's pieces stay as they are until the module changes the body.
        unsafe { buffers::copy(&pieces, start, &mut copied) };
        copied
    }

    fn add_pieces(self, part: BodyPart, pieces: &mut Vec<EnvoyBuffer>) {
        // SAFETY: see `FilterPtr`.
        let count =
            unsafe { abi::envoy_dynamic_module_callback_http_get_body_chunks_size(self.0, part) };
        if count == 0 {
            return;
        }
        pieces.reserve(count);
        let known = pieces.len();
        // SAFETY: see `FilterPtr`; there is room for `count` pieces behind the known ones.
        let is_there = unsafe {
            abi::envoy_dynamic_module_callback_http_get_body_chunks(
                self.0,
                part,
                pieces.as_mut_ptr().add(known),
            )
        };
        if is_there {
            // SAFETY: Envoy has filled in `count` pieces.
            unsafe { pieces.set_len(known + count) };
        }
    }

    /// Replaces the first `length` bytes of the body that Envoy holds.
    pub fn replace_body(self, body: BodySide, length: usize, by: &[u8]) -> bool {
        let rest = if length < self.body_size(body) {
            self.body(body, length)
        } else {
            Vec::new()
        };
        let [held, received] = body.parts();
        for part in [held, received] {
            // SAFETY: see `FilterPtr`.
            unsafe {
                abi::envoy_dynamic_module_callback_http_drain_body(self.0, part, usize::MAX);
            }
        }
        let append = |part, bytes: &[u8]| {
            let bytes = to_envoy(bytes);
            // SAFETY: see `FilterPtr`.
            unsafe { abi::envoy_dynamic_module_callback_http_append_body(self.0, part, bytes) }
        };
        // The received part exists in a body hook only. Nothing is held back now, so it doesn't
        // matter for the order which of them gets the bytes.
        let part = if append(received, by) {
            received
        } else if append(held, by) {
            held
        } else {
            return false;
        };
        rest.is_empty() || append(part, &rest)
    }

    pub fn send_response(self, status: u16, headers: &HeaderList<'_>, body: &[u8]) {
        let pairs = headers.pairs();
        let headers: Vec<_> = pairs
            .iter()
            .map(|(name, value)| header_to_envoy(name, value))
            .collect();
        // SAFETY: see `FilterPtr`; the headers are those of `pairs`.
        unsafe {
            abi::envoy_dynamic_module_callback_http_send_response(
                self.0,
                u32::from(status),
                headers.as_ptr(),
                headers.len(),
                to_envoy(body),
                NOTHING,
            );
        }
    }

    pub fn clear_route_cache(self) {
        // SAFETY: see `FilterPtr`.
        unsafe { abi::envoy_dynamic_module_callback_http_clear_route_cache(self.0) }
    }

    pub fn resume(self, body: BodySide) {
        // SAFETY: see `FilterPtr`.
        unsafe {
            match body {
                BodySide::Request => {
                    abi::envoy_dynamic_module_callback_http_filter_continue_decoding(self.0);
                }
                BodySide::Response => {
                    abi::envoy_dynamic_module_callback_http_filter_continue_encoding(self.0);
                }
            }
        }
    }

    /// Ends the filter, and makes Envoy lead the request through a new one. Returns false if Envoy
    /// refuses.
    pub fn recreate_stream(self) -> bool {
        // SAFETY: see `FilterPtr`.
        unsafe {
            abi::envoy_dynamic_module_callback_http_filter_recreate_stream(
                self.0,
                std::ptr::null(),
                0,
            )
        }
    }

    pub fn response_details(self) -> String {
        let mut value = EnvoyBuffer {
            data: std::ptr::null(),
            length: 0,
        };
        // SAFETY: see `FilterPtr`; `value` is valid for writes.
        let is_there = unsafe {
            abi::envoy_dynamic_module_callback_http_filter_get_attribute_string(
                self.0,
                abi::RESPONSE_CODE_DETAILS,
                &raw mut value,
            )
        };
        if !is_there {
            return String::new();
        }
        // SAFETY: Envoy's value stays as it is until the end of the hook.
        let details = unsafe { buffers::bytes(value.data, value.length) };
        String::from_utf8_lossy(details).into_owned()
    }

    /// Returns whether the stream has a value in its filter state.
    pub fn has_state(self, key: &str) -> bool {
        let mut value = EnvoyBuffer {
            data: std::ptr::null(),
            length: 0,
        };
        // SAFETY: see `FilterPtr`; `value` is valid for writes.
        unsafe {
            abi::envoy_dynamic_module_callback_http_get_filter_state_bytes(
                self.0,
                to_envoy(key.as_bytes()),
                &raw mut value,
            )
        }
    }

    pub fn set_state(self, key: &str, value: &str) -> bool {
        let (key, value) = (to_envoy(key.as_bytes()), to_envoy(value.as_bytes()));
        // SAFETY: see `FilterPtr`.
        unsafe {
            abi::envoy_dynamic_module_callback_http_set_filter_state_bytes(self.0, key, value)
        }
    }

    /// Sends an HTTP request without a body. Returns the id of the call, or the reason why it
    /// wasn't sent.
    pub fn call_http(
        self,
        cluster: &str,
        headers: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<u64, u32> {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| header_to_envoy(name, value.as_bytes()))
            .collect();
        let mut call = 0;
        // SAFETY: see `FilterPtr`; `call` is valid for writes, and the headers' text outlives this.
        let result = unsafe {
            abi::envoy_dynamic_module_callback_http_filter_http_callout(
                self.0,
                &raw mut call,
                to_envoy(cluster.as_bytes()),
                headers.as_ptr(),
                headers.len(),
                NOTHING,
                u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            )
        };
        if result == abi::SUCCESS {
            Ok(call)
        } else {
            Err(result)
        }
    }

    pub fn scheduler(self) -> StreamScheduler {
        // SAFETY: see `FilterPtr`.
        StreamScheduler(unsafe {
            abi::envoy_dynamic_module_callback_http_filter_scheduler_new(self.0)
        })
    }
}

/// A way for other threads to wake a stream. It may outlive the stream.
pub struct StreamScheduler(EnvoyPtr);

// SAFETY: Envoy's schedulers are for other threads; they hold a weak reference to their stream.
unsafe impl Send for StreamScheduler {}

impl StreamScheduler {
    /// Makes Envoy call the hook for scheduled events on the stream's thread, if it lives.
    pub fn commit(&self, event: u64) {
        // SAFETY: the scheduler lives until it is dropped.
        unsafe { abi::envoy_dynamic_module_callback_http_filter_scheduler_commit(self.0, event) }
    }
}

impl Drop for StreamScheduler {
    fn drop(&mut self) {
        // SAFETY: the scheduler is this module's, and nobody uses it any more.
        unsafe { abi::envoy_dynamic_module_callback_http_filter_scheduler_delete(self.0) }
    }
}
