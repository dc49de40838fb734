//! The contexts that Envoy calls: each hands its callbacks to the logic.

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{self, BufferType, ContextType};

use crate::envoy::{self, Envoy};
use opentracy_filter_core::host::Action;
use opentracy_filter_core::root::{Root, TICK};
use opentracy_filter_core::stream::{Stage, Stream};

/// The root context.
pub struct WasmRoot(Root<Envoy>);

impl WasmRoot {
    pub fn new(id: u32) -> Self {
        Self(Root::new(Envoy, id))
    }
}

impl Context for WasmRoot {
    fn on_grpc_call_response(&mut self, call: u32, status: u32, size: usize) {
        envoy::begin_callback();
        self.0.on_grpc_answer(call, status, size);
    }

    fn on_done(&mut self) -> bool {
        envoy::begin_callback();
        self.0.on_done();
        true
    }
}

impl RootContext for WasmRoot {
    fn on_configure(&mut self, size: usize) -> bool {
        envoy::begin_callback();
        let configuration = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size)
            .ok()
            .flatten()
            .unwrap_or_default();
        self.0.on_configure(&configuration) && hostcalls::set_tick_period(TICK).is_ok()
    }

    fn on_tick(&mut self) {
        envoy::adjust_clocks();
        self.0.on_tick();
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(WasmStream(self.0.open_stream(id)?)))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// The context of one HTTP stream.
struct WasmStream(Stream<Envoy>);

impl WasmStream {
    fn call<R>(&self, callback: impl FnOnce(&mut dyn Stage<Envoy>) -> R) -> R {
        envoy::begin_callback();
        self.0.with(callback)
    }
}

impl Context for WasmStream {
    fn on_http_call_response(&mut self, call: u32, _: usize, size: usize, _: usize) {
        self.call(|stage| stage.on_http_answer(&Envoy, call, size));
    }

    fn on_grpc_call_response(&mut self, call: u32, status: u32, size: usize) {
        self.call(|stage| stage.on_grpc_answer(&Envoy, call, status, size));
    }
}

impl HttpContext for WasmStream {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> types::Action {
        to_wasm(self.call(|stage| stage.on_request_headers(&Envoy, end_of_stream)))
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> types::Action {
        to_wasm(self.call(|stage| stage.on_request_body(&Envoy, size, end_of_stream)))
    }

    fn on_http_request_trailers(&mut self, _: usize) -> types::Action {
        to_wasm(self.call(|stage| stage.on_request_trailers(&Envoy)))
    }

    fn on_http_response_headers(&mut self, _: usize, end_of_stream: bool) -> types::Action {
        to_wasm(self.call(|stage| stage.on_response_headers(&Envoy, end_of_stream)))
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> types::Action {
        to_wasm(self.call(|stage| stage.on_response_body(&Envoy, size, end_of_stream)))
    }

    fn on_http_response_trailers(&mut self, _: usize) -> types::Action {
        to_wasm(self.call(|stage| stage.on_response_trailers(&Envoy)))
    }

    fn on_log(&mut self) {
        self.call(|stage| stage.on_log(&Envoy));
    }
}

fn to_wasm(action: Action) -> types::Action {
    match action {
        Action::Continue => types::Action::Continue,
        Action::Pause => types::Action::Pause,
    }
}
