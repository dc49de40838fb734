//! The hooks of Envoy's HTTP filter for dynamic modules.
//!
//! Each hands over to safe code, and no panic gets past it.

#![allow(unsafe_code)]
// Envoy calls these functions as the header says; that is the safety contract of all of them.
#![allow(clippy::missing_safety_doc)]

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;

use opentracy_filter_core::host::Action;

use crate::abi::{self, EnvoyBuffer, EnvoyHeader, EnvoyPtr, ModulePtr};
use crate::buffers;
use crate::configuration::Configuration;
use crate::filter::NativeFilter;
use crate::filter_calls::FilterPtr;
use crate::hold::Hold;
use crate::{compatibility, panics, worker};

/// The name of the filter that holds answers.
const HOLD: &[u8] = b"opentracy_hold";
/// Stands for the configuration of that filter, which has none.
static HOLD_CONFIGURATION: [u8; 1] = [0];

/// Reads the configuration of a filter. Null refuses it.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    _envoy: EnvoyPtr,
    name: EnvoyBuffer,
    config: EnvoyBuffer,
) -> ModulePtr {
    // SAFETY: Envoy's bytes stay as they are until the end of this hook.
    let (name, config) = unsafe {
        (
            buffers::bytes(name.data, name.length),
            buffers::bytes(config.data, config.length),
        )
    };
    let configuration = panics::catch(|| {
        compatibility::check()?;
        if name == HOLD {
            return Ok(HOLD_CONFIGURATION.as_ptr().cast());
        }
        let configuration = Configuration::read(name, config)?;
        worker::check(&configuration)?;
        Ok::<ModulePtr, String>(Arc::into_raw(configuration).cast())
    });
    match configuration {
        Some(Ok(configuration)) => configuration,
        Some(Err(message)) => {
            log::error!("{message}");
            std::ptr::null()
        }
        None => std::ptr::null(),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(config: ModulePtr) {
    if is_hold(config) {
        return;
    }
    // SAFETY: this is the pointer that `..._config_new` returned, and Envoy gives it back once.
    let configuration = unsafe { Arc::from_raw(config.cast::<Configuration>()) };
    panics::catch(AssertUnwindSafe(|| drop(configuration)));
}

/// Adds a filter for a new stream. Null closes the stream.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_new(
    config: ModulePtr,
    filter: EnvoyPtr,
) -> ModulePtr {
    if is_hold(config) {
        let hold = Hold::open(FilterPtr::new(filter));
        return Rc::into_raw(Rc::new(NativeFilter::Hold(hold))).cast();
    }
    let config = config.cast::<Configuration>();
    // SAFETY: this is the pointer that `..._config_new` returned; the configuration lives until it
    // is given back.
    let configuration = unsafe {
        Arc::increment_strong_count(config);
        Arc::from_raw(config)
    };
    let open = || worker::open_filter(&configuration, FilterPtr::new(filter));
    match panics::catch(AssertUnwindSafe(open)).flatten() {
        Some(filter) => Rc::into_raw(Rc::new(NativeFilter::Stage(filter))).cast(),
        None => std::ptr::null(),
    }
}

fn is_hold(config: ModulePtr) -> bool {
    std::ptr::eq(config, HOLD_CONFIGURATION.as_ptr().cast())
}

/// Returns a filter, which lives at least as long as the result; `None` for a null pointer.
///
/// # Safety
///
/// The pointer is null, or one that `..._filter_new` returned on this thread and that Envoy hasn't
/// given back.
unsafe fn filter(pointer: ModulePtr) -> Option<Rc<NativeFilter>> {
    if pointer.is_null() {
        return None;
    }
    let pointer = pointer.cast::<NativeFilter>();
    // SAFETY: the caller vouches for the pointer. The filter may end within the hook, so the hook
    // has a share in it.
    Some(unsafe {
        Rc::increment_strong_count(pointer);
        Rc::from_raw(pointer)
    })
}

/// Runs a hook of a filter whose answer says whether Envoy may go on. Without a filter it may not:
/// a request must not get past this module.
///
/// # Safety
///
/// As for [`filter`].
unsafe fn decide(pointer: ModulePtr, hook: impl FnOnce(&NativeFilter) -> Action) -> u32 {
    // SAFETY: the caller vouches for the pointer.
    let filter = unsafe { filter(pointer) };
    let action = filter.and_then(|filter| panics::catch(AssertUnwindSafe(|| hook(&filter))));
    match action {
        Some(Action::Continue) => abi::CONTINUE,
        Some(Action::Pause) | None => abi::STOP,
    }
}

/// Runs a hook of a filter.
///
/// # Safety
///
/// As for [`filter`].
unsafe fn run(pointer: ModulePtr, hook: impl FnOnce(&NativeFilter)) {
    // SAFETY: the caller vouches for the pointer.
    if let Some(filter) = unsafe { filter(pointer) } {
        panics::catch(AssertUnwindSafe(|| hook(&filter)));
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_headers(
    _envoy: EnvoyPtr,
    filter: ModulePtr,
    end_of_stream: bool,
) -> u32 {
    // SAFETY: Envoy passes the filter's own pointer.
    unsafe { decide(filter, |filter| filter.on_request_headers(end_of_stream)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_body(
    _envoy: EnvoyPtr,
    filter: ModulePtr,
    end_of_stream: bool,
) -> u32 {
    // SAFETY: Envoy passes the filter's own pointer.
    unsafe { decide(filter, |filter| filter.on_request_body(end_of_stream)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_trailers(
    _envoy: EnvoyPtr,
    filter: ModulePtr,
) -> u32 {
    // SAFETY: Envoy passes the filter's own pointer.
    unsafe { decide(filter, NativeFilter::on_request_trailers) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_response_headers(
    _envoy: EnvoyPtr,
    filter: ModulePtr,
    end_of_stream: bool,
) -> u32 {
    // SAFETY: Envoy passes the filter's own pointer.
    unsafe { decide(filter, |filter| filter.on_response_headers(end_of_stream)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_response_body(
    _envoy: EnvoyPtr,
    filter: ModulePtr,
    end_of_stream: bool,
) -> u32 {
    // SAFETY: Envoy passes the filter's own pointer.
    unsafe { decide(filter, |filter| filter.on_response_body(end_of_stream)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_response_trailers(
    _envoy: EnvoyPtr,
    filter: ModulePtr,
) -> u32 {
    // SAFETY: Envoy passes the filter's own pointer.
    unsafe { decide(filter, NativeFilter::on_response_trailers) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_stream_complete(
    _envoy: EnvoyPtr,
    filter: ModulePtr,
) {
    // SAFETY: Envoy passes the filter's own pointer.
    unsafe {
        run(filter, NativeFilter::on_log);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_destroy(filter: ModulePtr) {
    if filter.is_null() {
        return;
    }
    // SAFETY: this is the pointer that `..._filter_new` returned, and Envoy gives it back once.
    let filter = unsafe { Rc::from_raw(filter.cast::<NativeFilter>()) };
    panics::catch(AssertUnwindSafe(|| filter.close()));
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_scheduled(
    _envoy: EnvoyPtr,
    filter: ModulePtr,
    _event: u64,
) {
    // SAFETY: Envoy passes the filter's own pointer.
    unsafe { run(filter, NativeFilter::take_answers) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_http_callout_done(
    _envoy: EnvoyPtr,
    filter: ModulePtr,
    call: u64,
    result: u32,
    headers: *const EnvoyHeader,
    header_count: usize,
    pieces: *const EnvoyBuffer,
    piece_count: usize,
) {
    let is_answered = result == abi::SUCCESS;
    let response = is_answered.then(|| {
        // SAFETY: Envoy's arrays stay as they are until the end of this hook.
        unsafe { copy_response(headers, header_count, pieces, piece_count) }
    });
    // SAFETY: Envoy passes the filter's own pointer.
    unsafe {
        run(filter, |filter| {
            let call = u32::try_from(call).unwrap_or(u32::MAX);
            filter.on_http_answer(call, response.flatten());
        });
    }
}

/// Returns the status and the body of a response; `None` if it has no status.
///
/// # Safety
///
/// The pointers are null, or point to arrays of these lengths.
unsafe fn copy_response(
    headers: *const EnvoyHeader,
    header_count: usize,
    pieces: *const EnvoyBuffer,
    piece_count: usize,
) -> Option<(u16, Vec<u8>)> {
    if headers.is_null() {
        return None;
    }
    // SAFETY: the caller vouches for the array.
    let headers = unsafe { std::slice::from_raw_parts(headers, header_count) };
    let status = headers.iter().find_map(|header| {
        // SAFETY: Envoy's headers stay as they are until the end of the hook.
        let (name, value) = unsafe {
            (
                buffers::bytes(header.name, header.name_length),
                buffers::bytes(header.value, header.value_length),
            )
        };
        let value = (name == b":status").then_some(value)?;
        std::str::from_utf8(value).ok()?.parse().ok()
    })?;
    let mut body = Vec::new();
    if !pieces.is_null() {
        // SAFETY: the caller vouches for the array, and Envoy for its pieces.
        unsafe {
            let pieces = std::slice::from_raw_parts(pieces, piece_count);
            buffers::copy(pieces, 0, &mut body);
        }
    }
    Some((status, body))
}

// Envoy requires the following hooks too. They are about calls that this module doesn't make, and
// about filters that have no upstream.

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_headers(
    _filter: EnvoyPtr,
    _module: ModulePtr,
    _stream: u64,
    _headers: *const EnvoyHeader,
    _header_count: usize,
    _end_of_stream: bool,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_data(
    _filter: EnvoyPtr,
    _module: ModulePtr,
    _stream: u64,
    _pieces: *const EnvoyBuffer,
    _piece_count: usize,
    _end_of_stream: bool,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_trailers(
    _filter: EnvoyPtr,
    _module: ModulePtr,
    _stream: u64,
    _trailers: *const EnvoyHeader,
    _trailer_count: usize,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_complete(
    _filter: EnvoyPtr,
    _module: ModulePtr,
    _stream: u64,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_reset(
    _filter: EnvoyPtr,
    _module: ModulePtr,
    _stream: u64,
    _reason: u32,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(
    _filter: EnvoyPtr,
    _module: ModulePtr,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(
    _filter: EnvoyPtr,
    _module: ModulePtr,
) {
}
