//! gRPC calls to the control plane.

use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::types::BufferType;

use crate::headers;
use crate::plugin;

/// The Envoy cluster that leads to the control plane.
const CONTROL_PLANE: &str = "opentracy_control_plane";

/// Calls the control plane and returns the id of the call; `None` if Envoy refused it at once.
pub fn call(service: &str, method: &str, message: &[u8], timeout: Duration) -> Option<u32> {
    let token = plugin::grpc_token();
    hostcalls::dispatch_grpc_call(
        CONTROL_PLANE,
        service,
        method,
        vec![(headers::TOKEN, token.as_bytes())],
        Some(message),
        timeout,
    )
    .ok()
}

/// Returns the message that the control plane answered with; `None` if the call failed.
pub fn grpc_message(status: u32, size: usize) -> Option<Vec<u8>> {
    if status != 0 {
        return None;
    }
    if size == 0 {
        // Envoy has no buffer for a message whose fields all have their default values.
        return Some(Vec::new());
    }
    hostcalls::get_buffer(BufferType::GrpcReceiveBuffer, 0, size)
        .ok()
        .flatten()
}
