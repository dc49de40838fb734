//! `POST /v1/route`: returns the control plane's routing decision without making a call.

use std::time::Duration;

use opentracy_proto::v1;
use opentracy_translate::error::ApiError;
use prost::Message;

use crate::control_plane;
use crate::headers;
use crate::host::Host;

pub const PATH: &str = "/v1/route";

/// A batch of prompts may take long, and no call waits for it.
const DEADLINE: Duration = Duration::from_secs(30);

/// Requests the decision; returns the id of the gRPC call. Answers the client at once if the
/// control plane can't be called.
pub fn ask(host: &impl Host, body: Vec<u8>) -> Option<u32> {
    let message = v1::ExplainRequest { body }.encode_to_vec();
    let call = control_plane::call(
        host,
        "opentracy.v1.RouteService",
        "Explain",
        &message,
        DEADLINE,
    );
    if call.is_none() {
        refuse(host);
    }
    call
}

/// Sends the control plane's answer to the client.
pub fn answer(host: &impl Host, status: u32, size: usize) {
    let answer = control_plane::read::<v1::ExplainResponse>(host, status, size);
    let Some(answer) = answer else {
        refuse(host);
        return;
    };
    let status = u16::try_from(answer.status).unwrap_or(500);
    host.reply(status, &headers::json(), &answer.body);
}

fn reply_error(host: &impl Host, error: &ApiError) {
    host.reply(error.status, &headers::json(), &error.to_json());
}

fn refuse(host: &impl Host) {
    let words = "The control plane, which makes routing decisions, does not answer. Try again";
    reply_error(
        host,
        &ApiError::new(503, words).with_code("router_unavailable"),
    );
}
