//! Sends a request on its way: to a provider, to the internal listener, or back with a refusal.

use opentracy_translate::error::ApiError;
use opentracy_translate::format::{self, Target as FormatTarget};
use opentracy_translate::openai::envelope::Envelope;
use opentracy_translate::provider::Format;

use crate::gateway::call::Call;
use crate::gateway::planner::{self, Candidate};
use crate::gateway::session;
use crate::gateway::{CHAT_COMPLETIONS, router};
use crate::headers::{self, HeaderList};
use crate::plan::{Hop, Plan};
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
pub fn start(request: HeaderList, body: Vec<u8>) -> Outcome {
    let mut call = Box::new(Call::new(&request, body));
    let Some(snapshot) = snapshot::current() else {
        let error = ApiError::new(
            503,
            "The gateway has no configuration yet: its control plane is starting or out of reach. Try again",
        )
        .with_code("gateway_starting");
        return Outcome::Refused(call, error);
    };
    let body = std::mem::take(&mut call.body);
    let planned = plan(&mut call, &body, &snapshot);
    call.body = body;
    match planned {
        Err(error) => Outcome::Refused(call, error),
        Ok(None) => send(call, &request),
        Ok(Some(question)) => router::ask(question, call, request),
    }
}

/// Fills in the call; what to ask the control plane, when it has to be asked.
fn plan(
    call: &mut Call,
    body: &[u8],
    snapshot: &snapshot::Snapshot,
) -> Result<Option<router::Question>, ApiError> {
    let envelope = Envelope::parse(body)?;
    call.requested_model = envelope.model.clone().into_owned();
    call.stream = envelope.stream;
    call.include_usage = envelope.include_usage;
    call.has_tools = envelope.has_tools;
    call.user = envelope.user.clone().unwrap_or_default().into_owned();
    call.metadata = envelope.metadata();
    let target = planner::resolve(snapshot, &envelope.model)?;
    call.plan = target.candidates;
    let Some(alias) = target.alias else {
        return Ok(None);
    };
    call.alias = Some(alias.name.clone());
    let session_model = call.session.as_deref().and_then(session::model_of);
    if let Some(model) = session_model {
        planner::reorder(&mut call.plan, &[model]);
    } else if alias.auto {
        return Ok(Some(router::Question {
            alias: alias.name.clone(),
            prompt: envelope.last_user_text(),
            in_order_without_router: alias.in_order_without_router,
        }));
    }
    Ok(None)
}

/// Sends a planned request to its first candidate, or to Envoy's retries when there are more.
pub fn send(mut call: Box<Call>, request: &HeaderList) -> Outcome {
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
    let sent = match call.plan.as_slice() {
        [only] if only.provider.format == Format::OpenAi => {
            send_openai(&call.body, only, per_try_timeout_ms, request).map(|()| true)
        }
        [only] => {
            send_planned(
                &call,
                Hop::Direct,
                Some(&only.provider.envoy_cluster),
                per_try_timeout_ms,
                request,
            );
            Ok(false)
        }
        _ => {
            send_planned(&call, Hop::Internal, None, per_try_timeout_ms, request);
            Ok(false)
        }
    };
    match sent {
        Ok(is_edited_here) => {
            call.is_edited_here = is_edited_here;
            host::clear_route_cache();
            Outcome::Sent(call)
        }
        Err(error) => Outcome::Refused(call, error),
    }
}

/// One OpenAI-format candidate: the body needs two small edits at most, so it is done here.
fn send_openai(
    body: &[u8],
    candidate: &Candidate,
    per_try_timeout_ms: Option<u32>,
    request: &HeaderList,
) -> Result<(), ApiError> {
    let provider = &candidate.provider;
    let edited = format::translate_request(
        body,
        &FormatTarget {
            format: provider.format,
            model: &candidate.model,
            max_output_tokens: None,
            stream_usage: provider.stream_usage,
        },
    )?;
    let length = edited.as_ref().map_or(body.len(), Vec::len);
    let mut upstream = upstream::request_headers(provider, length, request);
    upstream.push(headers::HOP, Hop::Direct.as_str());
    upstream.push(headers::CLUSTER, provider.envoy_cluster.as_str());
    upstream.push(
        headers::PER_TRY_TIMEOUT,
        per_try_timeout_ms
            .unwrap_or(provider.timeout_ms)
            .to_string(),
    );
    host::set_request_headers(&upstream);
    if let Some(edited) = edited {
        host::set_request_body(&edited);
    }
    Ok(())
}

/// Sends the request as it is, with a plan for the provider stage to follow.
fn send_planned(
    call: &Call,
    hop: Hop,
    cluster: Option<&str>,
    per_try_timeout_ms: Option<u32>,
    request: &HeaderList,
) {
    let plan = Plan {
        trace_id: call.trace_id.as_str().into(),
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
    onward.push(":path", CHAT_COMPLETIONS);
    onward.push(headers::FORWARDED_PROTO, "http");
    onward.push("content-type", "application/json");
    onward.push("content-length", call.body.len().to_string());
    onward.push(headers::HOP, hop.as_str());
    onward.push(headers::PLAN, plan.to_header());
    if let Some(cluster) = cluster {
        onward.push(headers::CLUSTER, cluster);
    }
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
    #[cfg(feature = "trap-for-tests")]
    onward.copy(request, "x-opentracy-trap");
    host::set_request_headers(&onward);
}
