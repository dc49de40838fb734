//! gRPC calls to the control plane.

use std::time::Duration;

use prost::Message;
use proxy_wasm::hostcalls;
use proxy_wasm::types::BufferType;

use crate::contact;
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

/// Calls the control plane on behalf of a request that waits for the answer. Returns `None` also
/// while the control plane leaves such calls unanswered.
pub fn ask(service: &str, method: &str, message: &[u8], timeout: Duration) -> Option<u32> {
    if contact::may_ask() {
        call(service, method, message, timeout)
    } else {
        None
    }
}

/// Reads the answer to [`ask`]; `None` if the call failed.
pub fn read_awaited<M: Message + Default>(status: u32, size: usize) -> Option<M> {
    let answer = read(status, size);
    contact::note_question(answer.is_some());
    answer
}

/// Reads the answer to [`call`]; `None` if the call failed.
pub fn read<M: Message + Default>(status: u32, size: usize) -> Option<M> {
    M::decode(grpc_message(status, size)?.as_slice()).ok()
}

/// Returns the encoded message that the control plane answered with; `None` if the call failed.
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
