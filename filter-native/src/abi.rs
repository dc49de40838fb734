//! Envoy's interface for dynamic modules, as far as this module uses it.
//!
//! Envoy 1.40 calls this version of the interface v0.2.0. A pointer to a stream, a configuration or
//! a cluster is opaque, belongs to Envoy, and is valid until Envoy has announced its end by the
//! hook for it. A buffer that Envoy returns is valid until the end of the current hook or the next
//! change of what it shows, whichever is first. Buffers that the module passes in are copied.
//!
//! Source: Envoy's `source/extensions/dynamic_modules/abi/abi.h`.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use crate::functions::envoy_functions;

/// The version of the interface that this file describes. `crate::compatibility` checks it.
pub const VERSION: &std::ffi::CStr = c"v0.2.0";

/// A pointer to an object of Envoy's.
pub type EnvoyPtr = *mut c_void;
/// A pointer to an object of this module, which Envoy hands back in the object's hooks.
pub type ModulePtr = *const c_void;

/// Bytes of Envoy's.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct EnvoyBuffer {
    pub data: *const u8,
    pub length: usize,
}

/// Bytes of this module's. A null pointer stands for no value.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ModuleBuffer {
    pub data: *const u8,
    pub length: usize,
}

/// A header of Envoy's.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct EnvoyHeader {
    pub name: *const u8,
    pub name_length: usize,
    pub value: *const u8,
    pub value_length: usize,
}

/// A header of this module's.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ModuleHeader {
    pub name: *const u8,
    pub name_length: usize,
    pub value: *const u8,
    pub value_length: usize,
}

/// The header maps of a stream.
#[repr(u32)]
#[derive(Debug, Clone, Copy)]
pub enum HeaderMap {
    Request = 0,
    RequestTrailers = 1,
    Response = 2,
    ResponseTrailers = 3,
}

/// The parts of the bodies of a stream. The received part is the one that a body hook is for; the
/// buffered part was held back by earlier hooks.
#[repr(u32)]
#[derive(Debug, Clone, Copy)]
pub enum BodyPart {
    ReceivedRequest = 0,
    BufferedRequest = 1,
    ReceivedResponse = 2,
    BufferedResponse = 3,
}

/// The attribute `response.code_details`.
pub const RESPONSE_CODE_DETAILS: u32 = 16;

/// The answer of a hook: the next filter may go on.
pub const CONTINUE: u32 = 0;
/// The answer of a hook: this filter holds back what it got. A body is buffered.
pub const STOP: u32 = 1;

/// The result of an operation that succeeded.
pub const SUCCESS: u32 = 0;

// Log levels.
pub const DEBUG: u32 = 1;
pub const INFO: u32 = 2;
pub const WARN: u32 = 3;
pub const ERROR: u32 = 4;

envoy_functions! {
    /// Writes a line to Envoy's log, from any thread.
    pub fn envoy_dynamic_module_callback_log(level: u32, message: ModuleBuffer);

    /// Returns the number of headers of a map; 0 if the stream lacks it.
    pub fn envoy_dynamic_module_callback_http_get_headers_size(
        filter: EnvoyPtr,
        map: HeaderMap,
    ) -> usize;

    /// Fills an array with the headers of a map. It must have room for all of them.
    pub fn envoy_dynamic_module_callback_http_get_headers(
        filter: EnvoyPtr,
        map: HeaderMap,
        headers: *mut EnvoyHeader,
    ) -> bool;

    /// Reads the value at `index` of those that a name has, and their number if `count` isn't null.
    pub fn envoy_dynamic_module_callback_http_get_header(
        filter: EnvoyPtr,
        map: HeaderMap,
        name: ModuleBuffer,
        value: *mut EnvoyBuffer,
        index: usize,
        count: *mut usize,
    ) -> bool;

    /// Replaces all values of a name by one, or removes them if the value is null.
    pub fn envoy_dynamic_module_callback_http_set_header(
        filter: EnvoyPtr,
        map: HeaderMap,
        name: ModuleBuffer,
        value: ModuleBuffer,
    ) -> bool;

    /// Adds a value to those of a name.
    pub fn envoy_dynamic_module_callback_http_add_header(
        filter: EnvoyPtr,
        map: HeaderMap,
        name: ModuleBuffer,
        value: ModuleBuffer,
    ) -> bool;

    /// Returns the bytes of a part of a body.
    pub fn envoy_dynamic_module_callback_http_get_body_size(
        filter: EnvoyPtr,
        part: BodyPart,
    ) -> usize;

    /// Returns the number of pieces of a part of a body.
    pub fn envoy_dynamic_module_callback_http_get_body_chunks_size(
        filter: EnvoyPtr,
        part: BodyPart,
    ) -> usize;

    /// Fills an array with the pieces of a part of a body. It must have room for all of them.
    pub fn envoy_dynamic_module_callback_http_get_body_chunks(
        filter: EnvoyPtr,
        part: BodyPart,
        chunks: *mut EnvoyBuffer,
    ) -> bool;

    /// Appends to a part of a body. The received part exists only in a body hook; the buffered one
    /// is made if it is missing.
    pub fn envoy_dynamic_module_callback_http_append_body(
        filter: EnvoyPtr,
        part: BodyPart,
        data: ModuleBuffer,
    ) -> bool;

    /// Removes bytes at the beginning of a part of a body.
    pub fn envoy_dynamic_module_callback_http_drain_body(
        filter: EnvoyPtr,
        part: BodyPart,
        length: usize,
    ) -> bool;

    /// Answers the request. The filter may have ended when this returns: Envoy may have called the
    /// hooks for that in between. It calls no response hooks of this filter for the answer. If the
    /// client already has headers, Envoy resets the stream.
    pub fn envoy_dynamic_module_callback_http_send_response(
        filter: EnvoyPtr,
        status: u32,
        headers: *const ModuleHeader,
        header_count: usize,
        body: ModuleBuffer,
        details: ModuleBuffer,
    );

    /// Makes Envoy match the routes again.
    pub fn envoy_dynamic_module_callback_http_clear_route_cache(filter: EnvoyPtr);

    /// Goes on with a request that this filter holds. Does nothing if it holds none. The filter may
    /// have ended when this returns.
    pub fn envoy_dynamic_module_callback_http_filter_continue_decoding(filter: EnvoyPtr);

    /// Goes on with a response that this filter holds, like the above.
    pub fn envoy_dynamic_module_callback_http_filter_continue_encoding(filter: EnvoyPtr);

    /// Reads an attribute whose value is text.
    pub fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
        filter: EnvoyPtr,
        attribute: u32,
        value: *mut EnvoyBuffer,
    ) -> bool;

    /// Stores a value in the filter state of a stream, which the access log can print.
    pub fn envoy_dynamic_module_callback_http_set_filter_state_bytes(
        filter: EnvoyPtr,
        key: ModuleBuffer,
        value: ModuleBuffer,
    ) -> bool;

    /// Ends the stream, and begins another one with its request headers as they are now. The body
    /// comes along if nothing has taken it. Returns false if the request isn't complete. If it
    /// returns true, the filter has ended. Response headers may be passed, and are not needed.
    pub fn envoy_dynamic_module_callback_http_filter_recreate_stream(
        filter: EnvoyPtr,
        headers: *const ModuleHeader,
        header_count: usize,
    ) -> bool;

    /// Reads a value of the filter state of a stream. An upstream filter has that of its request.
    pub fn envoy_dynamic_module_callback_http_get_filter_state_bytes(
        filter: EnvoyPtr,
        key: ModuleBuffer,
        value: *mut EnvoyBuffer,
    ) -> bool;

    /// Returns a handle by which any thread can call the stream's hook for scheduled events on its
    /// worker. It belongs to the module, and may outlive the stream.
    pub fn envoy_dynamic_module_callback_http_filter_scheduler_new(filter: EnvoyPtr) -> EnvoyPtr;

    /// Schedules an event. Nothing happens if the stream has ended.
    pub fn envoy_dynamic_module_callback_http_filter_scheduler_commit(
        scheduler: EnvoyPtr,
        event: u64,
    );

    pub fn envoy_dynamic_module_callback_http_filter_scheduler_delete(scheduler: EnvoyPtr);

    /// Sends an HTTP request to a cluster, on behalf of a stream. Returns [`SUCCESS`] and the id of
    /// the call, or why it wasn't sent. Envoy cancels the call if the stream ends.
    pub fn envoy_dynamic_module_callback_http_filter_http_callout(
        filter: EnvoyPtr,
        call: *mut u64,
        cluster: ModuleBuffer,
        headers: *const ModuleHeader,
        header_count: usize,
        body: ModuleBuffer,
        timeout_ms: u64,
    ) -> u32;

    /// Tells Envoy that a cluster has all its first hosts.
    pub fn envoy_dynamic_module_callback_cluster_pre_init_complete(cluster: EnvoyPtr);

    /// Returns a handle by which any thread can call the cluster's hook for scheduled events on the
    /// main thread. It belongs to the module, and may outlive the cluster.
    pub fn envoy_dynamic_module_callback_cluster_scheduler_new(cluster: EnvoyPtr) -> EnvoyPtr;

    pub fn envoy_dynamic_module_callback_cluster_scheduler_commit(scheduler: EnvoyPtr, event: u64);

    pub fn envoy_dynamic_module_callback_cluster_scheduler_delete(scheduler: EnvoyPtr);

    /// Calls the cluster's hook for worker events on each worker. For the main thread only.
    pub fn envoy_dynamic_module_callback_cluster_run_on_all_workers(cluster: EnvoyPtr, event: u64);

    /// Defines a counter while the cluster's configuration is read. Its labels get their values
    /// later.
    pub fn envoy_dynamic_module_callback_cluster_config_define_counter(
        config: EnvoyPtr,
        name: ModuleBuffer,
        labels: *const ModuleBuffer,
        label_count: usize,
        id: *mut usize,
    ) -> u32;

    pub fn envoy_dynamic_module_callback_cluster_config_define_gauge(
        config: EnvoyPtr,
        name: ModuleBuffer,
        labels: *const ModuleBuffer,
        label_count: usize,
        id: *mut usize,
    ) -> u32;

    pub fn envoy_dynamic_module_callback_cluster_config_define_histogram(
        config: EnvoyPtr,
        name: ModuleBuffer,
        labels: *const ModuleBuffer,
        label_count: usize,
        id: *mut usize,
    ) -> u32;

    /// Returns a handle of the counter with these labels, which stays valid and may be used on any
    /// thread.
    pub fn envoy_dynamic_module_callback_cluster_config_resolve_counter_vec(
        config: EnvoyPtr,
        id: usize,
        labels: *const ModuleBuffer,
        label_count: usize,
        handle: *mut EnvoyPtr,
    ) -> u32;

    pub fn envoy_dynamic_module_callback_cluster_config_resolve_histogram_vec(
        config: EnvoyPtr,
        id: usize,
        labels: *const ModuleBuffer,
        label_count: usize,
        handle: *mut EnvoyPtr,
    ) -> u32;

    pub fn envoy_dynamic_module_callback_cluster_metric_counter_add(handle: EnvoyPtr, amount: u64);

    pub fn envoy_dynamic_module_callback_cluster_metric_histogram_record(
        handle: EnvoyPtr,
        value: u64,
    );

    /// Adds to a counter without labels, from any thread.
    pub fn envoy_dynamic_module_callback_cluster_config_increment_counter(
        config: EnvoyPtr,
        id: usize,
        labels: *const ModuleBuffer,
        label_count: usize,
        amount: u64,
    ) -> u32;

    /// Adds to a gauge without labels, from any thread.
    pub fn envoy_dynamic_module_callback_cluster_config_increment_gauge(
        config: EnvoyPtr,
        id: usize,
        labels: *const ModuleBuffer,
        label_count: usize,
        amount: u64,
    ) -> u32;

    /// Subtracts from a gauge without labels, from any thread.
    pub fn envoy_dynamic_module_callback_cluster_config_decrement_gauge(
        config: EnvoyPtr,
        id: usize,
        labels: *const ModuleBuffer,
        label_count: usize,
        amount: u64,
    ) -> u32;
}

/// Returns whether Envoy's log was found.
pub fn has_log() -> bool {
    let address = addresses::envoy_dynamic_module_callback_log.load(Ordering::Relaxed);
    !address.is_null()
}
