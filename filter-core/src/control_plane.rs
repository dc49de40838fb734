//! gRPC calls to the control plane.

use std::time::Duration;

use prost::Message;

use crate::contact;
use crate::headers;
use crate::host::{GrpcCall, Host};
use crate::plugin;

/// The Envoy cluster that leads to the control plane.
const CONTROL_PLANE: &str = "opentracy_control_plane";

/// Calls the control plane and returns the id of the call; `None` if Envoy refused it at once.
pub fn call(
    host: &impl Host,
    service: &str,
    method: &str,
    message: &[u8],
    timeout: Duration,
) -> Option<u32> {
    let token = plugin::grpc_token();
    host.call_grpc(&GrpcCall {
        cluster: CONTROL_PLANE,
        service,
        method,
        metadata: (headers::TOKEN, &token),
        message,
        timeout,
    })
}

/// Calls the control plane on behalf of a request that waits for the answer. Returns `None` also
/// while the control plane leaves such calls unanswered.
pub fn ask(
    host: &impl Host,
    service: &str,
    method: &str,
    message: &[u8],
    timeout: Duration,
) -> Option<u32> {
    if contact::may_ask(host) {
        call(host, service, method, message, timeout)
    } else {
        None
    }
}

/// Reads the answer to [`ask`]; `None` if the call failed.
pub fn read_awaited<M: Message + Default>(host: &impl Host, status: u32, size: usize) -> Option<M> {
    let answer = read(host, status, size);
    contact::note_question(host, answer.is_some());
    answer
}

/// Reads the answer to [`call`]; `None` if the call failed.
pub fn read<M: Message + Default>(host: &impl Host, status: u32, size: usize) -> Option<M> {
    M::decode(grpc_message(host, status, size)?.as_slice()).ok()
}

/// Returns the encoded message that the control plane answered with; `None` if the call failed.
pub fn grpc_message(host: &impl Host, status: u32, size: usize) -> Option<Vec<u8>> {
    if status != 0 {
        return None;
    }
    if size == 0 {
        // Envoy has no buffer for a message whose fields all have their default values.
        return Some(Vec::new());
    }
    host.grpc_message(size)
}
