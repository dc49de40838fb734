//! Asks the control plane which candidate suits a prompt.

use std::time::Duration;

use opentracy_proto::v1;
use opentracy_translate::error::ApiError;
use prost::Message;
use proxy_wasm::hostcalls;
use proxy_wasm::types::BufferType;

use crate::gateway::call::Call;
use crate::gateway::dispatch::{self, Outcome};
use crate::gateway::planner;
use crate::headers::HeaderList;
use crate::root;

/// A decision that takes longer is worth less than an answer.
const DEADLINE: Duration = Duration::from_millis(500);

pub struct Question {
    pub alias: String,
    pub prompt: String,
    pub in_order_without_router: bool,
}

/// A request that waits for the control plane's decision.
pub struct Pending {
    call: Box<Call>,
    request: HeaderList<'static>,
    grpc_call: u32,
    asked_at_micros: u64,
    in_order_without_router: bool,
}

impl Pending {
    pub fn is_call(&self, grpc_call: u32) -> bool {
        self.grpc_call == grpc_call
    }

    pub fn into_call(self) -> Call {
        *self.call
    }
}

pub fn ask(question: Question, call: Box<Call>, request: HeaderList<'static>) -> Outcome {
    let message = v1::RouteRequest {
        alias: question.alias,
        prompt: question.prompt,
    }
    .encode_to_vec();
    let asked_at_micros = call.started.elapsed_micros();
    match root::call("opentracy.v1.RouteService", "Route", &message, DEADLINE) {
        Some(grpc_call) => Outcome::Asked(Box::new(Pending {
            call,
            request,
            grpc_call,
            asked_at_micros,
            in_order_without_router: question.in_order_without_router,
        })),
        None => without_router(call, &request, question.in_order_without_router),
    }
}

/// Takes the control plane's answer, or the lack of one.
pub fn read_answer(pending: Pending, status: u32, size: usize) -> Outcome {
    let mut call = pending.call;
    call.routing_micros = call.started.elapsed_micros() - pending.asked_at_micros;
    let answer = (status == 0)
        .then(|| {
            hostcalls::get_buffer(BufferType::GrpcReceiveBuffer, 0, size)
                .ok()
                .flatten()
        })
        .flatten()
        .and_then(|bytes| v1::RouteResponse::decode(bytes.as_slice()).ok());
    let Some(answer) = answer else {
        return without_router(call, &pending.request, pending.in_order_without_router);
    };
    planner::reorder(&mut call.plan, &answer.candidates);
    call.cluster_id = answer.cluster_id;
    call.expected_error = answer.expected_error;
    dispatch::send_later(call, &pending.request)
}

fn without_router(call: Box<Call>, request: &HeaderList<'_>, in_order: bool) -> Outcome {
    if in_order {
        return dispatch::send_later(call, request);
    }
    let message = format!(
        "The alias \"{}\" needs the control plane to choose a model, and it does not answer. Try again, or set `when_router_is_down: in_order` for the alias",
        call.alias.as_deref().unwrap_or_default()
    );
    let error = ApiError::new(503, message).with_code("router_unavailable");
    Outcome::Refused(call, error)
}
