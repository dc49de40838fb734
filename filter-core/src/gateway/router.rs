//! Asks the control plane for the candidate that suits a prompt.

use std::time::Duration;

use opentracy_proto::v1;
use opentracy_translate::error::ApiError;
use opentracy_translate::openai::envelope::Envelope;
use prost::Message;

use crate::control_plane;
use crate::gateway::call::ClientCall;
use crate::gateway::planner;
use crate::headers::{self, HeaderList};
use crate::host::Host;

/// Returns the cost weight from the client's header, which overrides the alias's own.
pub fn cost_weight(request: &HeaderList<'_>) -> Result<Option<f64>, ApiError> {
    let Some(text) = request.get(headers::COST_WEIGHT) else {
        return Ok(None);
    };
    let weight = text.trim().parse().ok();
    weight
        .filter(|weight: &f64| weight.is_finite() && *weight >= 0.0)
        .map(Some)
        .ok_or_else(|| {
            let words = "`X-OpenTracy-Cost-Weight` must be a number of at least 0: 0 prefers the best model, 1 a cheap one";
            ApiError::new(400, words).with_code("invalid_header")
        })
}

/// A call to the control plane that a request waits for.
pub struct PendingDecision {
    pub grpc_call: u32,
    asked_at_micros: u64,
    deadline: Duration,
    fail_without_router: bool,
}

/// Requests a decision; `None` if the control plane can't be called and the request proceeds
/// without one.
pub fn ask(
    host: &impl Host,
    call: &mut ClientCall,
    envelope: &Envelope<'_>,
    alias: &v1::Alias,
    cost_weight: Option<f64>,
) -> Result<Option<PendingDecision>, ApiError> {
    let subject = envelope.subject();
    let message = v1::RouteRequest {
        alias: alias.name.clone(),
        prompt: subject.text,
        cost_weight,
        needs: Some(v1::Needs {
            conversation_bytes: envelope.text.len() as u64,
            tools: envelope.has_tools,
            images: subject.has_images,
        }),
        candidates: call.plan.iter().map(planner::ProviderModel::id).collect(),
    }
    .encode_to_vec();
    let deadline = call
        .trace
        .snapshot
        .as_ref()
        .map(|snapshot| snapshot.route_deadline)
        .unwrap_or_default();
    let fail_without_router = alias.fail_without_router;
    match control_plane::ask(
        host,
        "opentracy.v1.RouteService",
        "Route",
        &message,
        deadline,
    ) {
        Some(grpc_call) => Ok(Some(PendingDecision {
            grpc_call,
            asked_at_micros: call.trace.started.elapsed_micros(host),
            deadline,
            fail_without_router,
        })),
        None => without_router(call, "control_plane_down", fail_without_router).map(|()| None),
    }
}

/// Reads the control plane's answer, or its absence.
pub fn read_answer(
    host: &impl Host,
    call: &mut ClientCall,
    asked: &PendingDecision,
    status: u32,
    size: usize,
) -> Result<(), ApiError> {
    call.routing.micros = call.trace.started.elapsed_micros(host) - asked.asked_at_micros;
    let answer = control_plane::read_awaited::<v1::RouteResponse>(host, status, size);
    let Some(answer) = answer else {
        // Envoy reports a timeout and other failures with the same status, and its timers may run
        // slightly early by our clock.
        let almost = asked.deadline.mul_f32(0.9).as_micros();
        let why = if u128::from(call.routing.micros) >= almost {
            "deadline"
        } else {
            "control_plane_down"
        };
        return without_router(call, why, asked.fail_without_router);
    };
    planner::reorder(&mut call.plan, &answer.candidates);
    call.routing.cluster_id = answer.cluster_id;
    call.routing.expected_error = answer.expected_error;
    call.routing.decision = answer.decision;
    Ok(())
}

fn without_router(call: &mut ClientCall, why: &str, fail: bool) -> Result<(), ApiError> {
    let reason = if fail {
        "there was no decision, and the alias requires one"
    } else {
        "there was no decision: the alias's candidates were tried in their order"
    };
    call.routing.decision = Some(v1::Decision {
        outcome: why.to_owned(),
        reason: reason.to_owned(),
        ..v1::Decision::default()
    });
    if !fail {
        return Ok(());
    }
    let message = format!(
        "The alias \"{}\" needs the control plane to choose a model, and it does not answer. Try again, or set `when_router_is_down: in_order` for the alias",
        call.trace.alias.as_deref().unwrap_or_default()
    );
    Err(ApiError::new(503, message).with_code("router_unavailable"))
}
