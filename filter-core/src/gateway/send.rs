//! Sends a planned request to its provider, or to the internal listener.

use std::time::Duration;

use opentracy_proto::constants::MAX_ATTEMPTS;
use opentracy_translate::error::ApiError;
use opentracy_translate::format;
use opentracy_translate::internal_hosts::PLANNED_AUTHORITY;
use opentracy_translate::openai::envelope::Envelope;
use opentracy_translate::trace_context::span_id;

use crate::gateway::call::ClientCall;
use crate::gateway::own_attempts;
use crate::gateway::planner::ProviderModel;
use crate::headers::{self, HeaderList};
use crate::host::Host;
use crate::plan::Plan;
use crate::upstream::{self, Sending};

/// Sends a planned request: directly to its only candidate; or to its first one, if this host can
/// restart the request for the others; or through Envoy's retries.
pub fn send(
    host: &impl Host,
    call: &mut ClientCall,
    envelope: &Envelope<'_>,
    request: HeaderList<'static>,
) -> Result<(), ApiError> {
    let snapshot = call.trace.snapshot.clone().unwrap_or_default();
    let alias = call.trace.alias(&snapshot);
    let retries = alias.map_or(0, |alias| alias.retries as usize);
    let per_try_timeout_ms = alias.and_then(|alias| alias.per_try_timeout_ms);
    let hedge_after_ms = alias.and_then(|alias| alias.hedge_after_ms);
    call.plan = call
        .plan
        .iter()
        .flat_map(|candidate| {
            // A key that is refused or rate-limited isn't a reason to give up on the candidate.
            let tries = 1 + retries.max(candidate.provider.keys.len());
            std::iter::repeat_n(candidate.clone(), tries)
        })
        .take(MAX_ATTEMPTS)
        .collect();
    match call.plan.as_slice() {
        [only] => {
            send_direct(host, call, only, envelope, per_try_timeout_ms, &request)?;
            call.is_direct = true;
            let timeout_ms = per_try_timeout_ms.unwrap_or(only.provider.timeout_ms);
            call.timeout = Some(Duration::from_millis(timeout_ms.into()));
        }
        // Only Envoy can make two attempts at the same time.
        _ if host.can_restart() && hedge_after_ms.is_none() => {
            own_attempts::begin(host, call, envelope, request, per_try_timeout_ms)?;
        }
        _ => send_planned(host, call, per_try_timeout_ms, hedge_after_ms, &request),
    }
    Ok(())
}

/// Sends the request to the only candidate. No other attempt can follow, so it needs no provider
/// stage.
fn send_direct(
    host: &impl Host,
    call: &ClientCall,
    candidate: &ProviderModel,
    envelope: &Envelope<'_>,
    per_try_timeout_ms: Option<u32>,
    request: &HeaderList<'_>,
) -> Result<(), ApiError> {
    let (provider, model) = (&candidate.provider, candidate.model.as_str());
    let target = provider.target(model, call.trace.snapshot.as_deref());
    let outgoing = format::translate_parsed(&call.body, envelope, &target)?;
    let timeout_ms = per_try_timeout_ms.unwrap_or(provider.timeout_ms);
    let traceparent = request.get(headers::TRACEPARENT);
    let span = traceparent.map(|_| span_id(&call.trace.id, 1));
    let sending = Sending {
        timeout_ms,
        span,
        retries_resets: true,
        is_held: true,
    };
    upstream::send(
        host, provider, model, &outgoing, &call.body, &sending, request,
    );
    Ok(())
}

/// Sends the request unchanged, with a plan for the provider stage.
fn send_planned(
    host: &impl Host,
    call: &ClientCall,
    per_try_timeout_ms: Option<u32>,
    hedge_after_ms: Option<u32>,
    request: &HeaderList<'_>,
) {
    let plan = Plan {
        trace_id: call.trace.id.as_str().into(),
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
    onward.push(":authority", PLANNED_AUTHORITY);
    onward.push(":path", call.api.path());
    onward.push(headers::FORWARDED_PROTO, "http");
    onward.push("content-type", "application/json");
    onward.push("content-length", call.body.len().to_string());
    onward.push(headers::PLAN, plan.to_header());
    match hedge_after_ms {
        // Envoy then also tries the next candidate, and takes the answer that begins first.
        Some(after) => {
            onward.push(headers::PER_TRY_TIMEOUT, after.to_string());
            onward.push(headers::HEDGE, "true");
        }
        None => onward.push(
            headers::PER_TRY_TIMEOUT,
            timeout
                .saturating_add(upstream::TIMEOUT_MARGIN_MS)
                .to_string(),
        ),
    }
    onward.push(
        headers::MAX_RETRIES,
        call.plan.len().saturating_sub(1).to_string(),
    );
    for name in headers::PASSED_UPSTREAM {
        onward.copy(request, name);
    }
    onward.copy(request, headers::ANTHROPIC_BETA);
    if call
        .plan
        .iter()
        .any(|candidate| candidate.provider.is_agents())
    {
        onward.copy(request, headers::SESSION_ID);
        onward.copy(request, headers::ON_BEHALF_OF);
    }
    #[cfg(feature = "trap-for-tests")]
    onward.copy(request, "x-opentracy-trap");
    host.set_request_headers(&onward);
    host.clear_route_cache();
}
