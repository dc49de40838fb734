//! Sends a request on its way: to a provider, to the internal listener, or back with a refusal.

use std::rc::Rc;

use opentracy_translate::client::Api;
use opentracy_translate::error::ApiError;
use opentracy_translate::format;
use opentracy_translate::openai::envelope::Envelope;
use opentracy_translate::trace_context::span_id;

use crate::gateway::call::Call;
use crate::gateway::planner::{self, Candidate};
use crate::gateway::{budget, privacy, router, session};
use crate::headers::{self, HeaderList};
use crate::plan::Plan;
use crate::{host, snapshot, upstream};

/// The edge's own time-out for an attempt comes this much after the provider stage's, which knows more to say.
const TIMEOUT_MARGIN_MS: u32 = 500;

/// What became of a request.
pub enum Outcome {
    Sent(Box<Call>),
    /// The control plane was asked for an order first.
    Asked(Box<router::Pending>),
    Refused(Box<Call>, ApiError),
}

/// Takes a whole request: reads it, plans it and sends it on.
pub fn start(api: Api, request: HeaderList<'static>, body: Vec<u8>) -> Outcome {
    let mut call = Box::new(Call::new(api, &request, body));
    let Some(snapshot) = snapshot::current() else {
        let error = ApiError::new(
            503,
            "The gateway has no configuration yet: its control plane is starting or out of reach. Try again",
        )
        .with_code("gateway_starting");
        return Outcome::Refused(call, error);
    };
    let body = Rc::clone(&call.body);
    let planned = privacy::check(&request)
        .and_then(|()| Envelope::parse(call.api, &body))
        .and_then(|envelope| Ok((plan(&mut call, &request, &envelope, &snapshot)?, envelope)));
    match planned {
        Err(error) => Outcome::Refused(call, error),
        Ok((None, envelope)) => send(call, &envelope, &request),
        Ok((Some(question), _)) => router::ask(question, call, request),
    }
}

/// Fills in the call; what to ask the control plane, when it has to be asked.
fn plan(
    call: &mut Call,
    request: &HeaderList<'_>,
    envelope: &Envelope<'_>,
    snapshot: &snapshot::Snapshot,
) -> Result<Option<router::Question>, ApiError> {
    call.requested_model = envelope.model.clone().into_owned();
    call.stream = envelope.stream;
    call.include_usage = envelope.include_usage;
    call.has_tools = envelope.has_tools;
    call.user = envelope.user.clone().unwrap_or_default().into_owned();
    call.metadata = envelope.metadata();
    let target = planner::resolve(snapshot, &envelope.model)?;
    call.plan = target.candidates;
    call.alias = target.alias.map(|alias| alias.name.clone());
    call.budget = budget::check(call.key.as_deref(), target.alias)?;
    let Some(alias) = target.alias else {
        return Ok(None);
    };
    let session_model = call.session.as_deref().and_then(session::model_of);
    if let Some(model) = session_model {
        planner::reorder(&mut call.plan, &[model]);
    } else if alias.auto {
        let cost_weight = router::cost_weight(request)?;
        return Ok(Some(router::Question::new(envelope, alias, cost_weight)));
    }
    Ok(None)
}

/// Sends a request that waited for the control plane.
pub fn send_later(call: Box<Call>, request: &HeaderList<'_>) -> Outcome {
    let body = Rc::clone(&call.body);
    match Envelope::parse(call.api, &body) {
        Ok(envelope) => send(call, &envelope, request),
        Err(error) => Outcome::Refused(call, error),
    }
}

/// Sends a planned request to its only candidate, or to Envoy's retries when there are more.
fn send(mut call: Box<Call>, envelope: &Envelope<'_>, request: &HeaderList<'_>) -> Outcome {
    let alias = call
        .alias
        .as_ref()
        .and_then(|name| call.snapshot.as_ref()?.aliases.get(name));
    let tries = 1 + alias.map_or(0, |alias| alias.retries as usize);
    let per_try_timeout_ms = alias.and_then(|alias| alias.per_try_timeout_ms);
    call.plan = call
        .plan
        .iter()
        .flat_map(|candidate| std::iter::repeat_n(candidate.clone(), tries))
        .collect();
    match call.plan.as_slice() {
        [only] => {
            if let Err(error) = send_direct(&call, only, envelope, per_try_timeout_ms, request) {
                return Outcome::Refused(call, error);
            }
            call.is_direct = true;
        }
        _ => send_planned(&call, per_try_timeout_ms, request),
    }
    Outcome::Sent(call)
}

/// One candidate: nothing can be tried after it, so the request needs no provider stage of its own.
fn send_direct(
    call: &Call,
    candidate: &Candidate,
    envelope: &Envelope<'_>,
    per_try_timeout_ms: Option<u32>,
    request: &HeaderList<'_>,
) -> Result<(), ApiError> {
    let (provider, model) = (&candidate.provider, candidate.model.as_str());
    let target = provider.target(model, call.snapshot.as_deref());
    let outgoing = format::translate_parsed(&call.body, envelope, &target)?;
    let timeout_ms = per_try_timeout_ms.unwrap_or(provider.timeout_ms);
    let span = Some(span_id(&call.trace_id, 1));
    upstream::send(
        provider, model, &outgoing, &call.body, timeout_ms, request, span,
    );
    Ok(())
}

/// Sends the request as it is, with a plan for the provider stage to follow.
fn send_planned(call: &Call, per_try_timeout_ms: Option<u32>, request: &HeaderList<'_>) {
    let plan = Plan {
        trace_id: call.trace_id.as_str().into(),
        api: call.api,
        attempts: call
            .plan
            .iter()
            .map(|candidate| candidate.id().into())
            .collect(),
        per_try_timeout_ms,
    };
    let timeout = per_try_timeout_ms
        .or_else(|| {
            call.plan
                .iter()
                .map(|candidate| candidate.provider.timeout_ms)
                .max()
        })
        .unwrap_or_default();
    let mut onward = HeaderList::default();
    onward.push(":method", "POST");
    onward.push(":scheme", "http");
    onward.push(":authority", headers::INTERNAL_AUTHORITY);
    onward.push(":path", call.api.path());
    onward.push(headers::FORWARDED_PROTO, "http");
    onward.push("content-type", "application/json");
    onward.push("content-length", call.body.len().to_string());
    onward.push(headers::HOP, headers::HOP_INTERNAL);
    onward.push(headers::PLAN, plan.to_header());
    onward.push(
        headers::PER_TRY_TIMEOUT,
        timeout.saturating_add(TIMEOUT_MARGIN_MS).to_string(),
    );
    onward.push(
        headers::MAX_RETRIES,
        call.plan.len().saturating_sub(1).to_string(),
    );
    for name in headers::PASSED_UPSTREAM {
        onward.copy(request, name);
    }
    onward.copy(request, headers::ANTHROPIC_BETA);
    #[cfg(feature = "trap-for-tests")]
    onward.copy(request, "x-opentracy-trap");
    host::set_request_headers(&onward);
    host::clear_route_cache();
}
