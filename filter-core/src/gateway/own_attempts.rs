//! The attempts of a plan that the gateway stage makes itself, one after another.
//!
//! On a host that can restart a request, no provider stage is needed: each attempt is a pass of the
//! request through Envoy's filters. The plan, the client's headers and the client's body stay here.

use std::time::Duration;

use opentracy_proto::v1;
use opentracy_translate::attempt_error::AttemptError;
use opentracy_translate::error::ApiError;
use opentracy_translate::format;
use opentracy_translate::openai::envelope::Envelope;
use opentracy_translate::trace_context::span_id;

use crate::clock::Moment;
use crate::failure;
use crate::gateway::call::ClientCall;
use crate::gateway::planner::ProviderModel;
use crate::headers::HeaderList;
use crate::host::Host;
use crate::upstream::{self, Sending};
use crate::{access_log, provider_keys};

/// The progress of a call through its plan.
pub struct OwnAttempts {
    /// The client's headers.
    request: HeaderList<'static>,
    per_try_timeout_ms: Option<u32>,
    /// The place of the current candidate in the plan.
    current: usize,
    started: Moment,
    /// The number of the provider's key that the current attempt uses.
    key: usize,
    /// The records of the attempts before the current one.
    failed: Vec<v1::Attempt>,
    /// Set from the decision to make the next attempt until Envoy's pass for it.
    is_restarting: bool,
}

impl OwnAttempts {
    /// Returns the place of the current candidate in the plan.
    pub fn current(&self) -> usize {
        self.current
    }

    pub fn started(&self) -> Moment {
        self.started
    }

    pub fn is_restarting(&self) -> bool {
        self.is_restarting
    }
}

/// Sends the request to the first candidate that supports it. Returns the error of the last one if
/// none does.
pub fn begin(
    host: &impl Host,
    call: &mut ClientCall,
    envelope: &Envelope<'_>,
    request: HeaderList<'static>,
    per_try_timeout_ms: Option<u32>,
) -> Result<(), ApiError> {
    call.is_direct = true;
    call.own_attempts = Some(Box::new(OwnAttempts {
        request,
        per_try_timeout_ms,
        current: 0,
        started: Moment::now(host),
        key: 0,
        failed: Vec::new(),
        is_restarting: false,
    }));
    send_from_current(host, call, Some(envelope))
}

/// Makes the next attempt, in the pass that Envoy has begun for it.
pub fn resume(host: &impl Host, call: &mut ClientCall) -> Result<(), ApiError> {
    if let Some(own) = &mut call.own_attempts {
        own.is_restarting = false;
        // Envoy forgets the values of the pass before.
        access_log::keep_request(host, own.request.path(), own.request.get("user-agent"));
    }
    send_from_current(host, call, None)
}

/// Ends the current attempt, which failed, and begins the next one if there is one that may do
/// better. Returns whether it does.
pub fn fail_over(
    host: &impl Host,
    call: &mut ClientCall,
    error: &ApiError,
    retry_after: Option<u64>,
) -> bool {
    let (Some(own), Some(made)) = (&call.own_attempts, call.attempts.last_mut()) else {
        return false;
    };
    let reason = AttemptError::of_status(error.status);
    made.error.get_or_insert(reason);
    made.retry_after = made.retry_after.or(retry_after);
    if let Some(status) = made.status {
        let told = if status < 400 { error.status } else { status };
        made.status = Some(told);
        if let Some(candidate) = call.plan.get(own.current) {
            provider_keys::report(host, &candidate.provider, own.key, told, retry_after);
        }
    }
    if !is_worth_another(call, error) || !advance(host, call) {
        return false;
    }
    call.trace.first_byte_micros = None;
    if let Some(own) = &mut call.own_attempts {
        own.is_restarting = true;
        host.restart_request(&own.request);
    }
    true
}

/// Returns the records of all attempts. The current one has just ended.
pub fn records(host: &impl Host, call: &mut ClientCall) -> Vec<v1::Attempt> {
    let Some(own) = &call.own_attempts else {
        return Vec::new();
    };
    if call.attempts.len() <= own.current {
        let details = host.response_details();
        let is_late = call
            .timeout
            .is_some_and(|timeout| own.started.elapsed(host) >= timeout);
        let reason = failure::of_unanswered(&details, is_late);
        call.note_silence(host, reason);
    }
    let last = record(host, call);
    let failed = call.own_attempts.take().map(|own| own.failed);
    failed.into_iter().flatten().chain(last).collect()
}

/// Sends the request to the current candidate or, if that can't take it, to the next one that can.
fn send_from_current(
    host: &impl Host,
    call: &mut ClientCall,
    envelope: Option<&Envelope<'_>>,
) -> Result<(), ApiError> {
    loop {
        let sent = host.guard(|| send(host, call, envelope));
        let (error, reason) = match sent {
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) => (error, AttemptError::RefusedByGateway),
            None => failure::panic(call.provider_name()),
        };
        call.note_silence(host, reason);
        // Another model may support what this one doesn't.
        if !(is_worth_another(call, &error) || error.is_unsupported()) || !advance(host, call) {
            return Err(error);
        }
    }
}

/// Sends the request to the current candidate.
fn send(
    host: &impl Host,
    call: &mut ClientCall,
    envelope: Option<&Envelope<'_>>,
) -> Result<(), ApiError> {
    let is_last = !has_next(call);
    let Some(own) = &mut call.own_attempts else {
        return Ok(());
    };
    let Some(ProviderModel { provider, model }) = call.plan.get(own.current) else {
        return Ok(());
    };
    let number = number(own);
    #[cfg(feature = "trap-for-tests")]
    crate::traps::in_own_attempt(&own.request, number);
    let target = provider.target(model, call.trace.snapshot.as_deref());
    let outgoing = match envelope {
        Some(envelope) => format::translate_parsed(&call.body, envelope, &target)?,
        None => {
            let mut outgoing = format::translate_request(call.api, &call.body, &target)?;
            // Envoy has no body, or that of the attempt before.
            let body = || call.body.as_ref().clone();
            outgoing.body.get_or_insert_with(body);
            outgoing
        }
    };
    let timeout_ms = own.per_try_timeout_ms.unwrap_or(provider.timeout_ms);
    let sending = Sending {
        timeout_ms,
        span: Some(span_id(&call.trace.id, number)),
        retries_resets: is_last,
        is_held: true,
    };
    own.key = upstream::send(
        host,
        provider,
        model,
        &outgoing,
        &call.body,
        &sending,
        &own.request,
    );
    call.timeout = Some(Duration::from_millis(timeout_ms.into()));
    Ok(())
}

/// Records the current attempt, which failed, and moves on to the next candidate. Returns false
/// after the last one.
fn advance(host: &impl Host, call: &mut ClientCall) -> bool {
    if !has_next(call) {
        return false;
    }
    let record = record(host, call);
    if let Some(own) = &mut call.own_attempts {
        own.failed.extend(record);
        own.current += 1;
        own.started = Moment::now(host);
    }
    true
}

/// Returns the record of the current attempt.
fn record(host: &impl Host, call: &ClientCall) -> Option<v1::Attempt> {
    let own = call.own_attempts.as_ref()?;
    let made = call.attempts.get(own.current)?;
    let attempt = call.trace.attempt(host, number(own), made);
    Some(v1::Attempt {
        latency_micros: own.started.elapsed_micros(host),
        start_unix_micros: own.started.unix_micros(),
        ..attempt
    })
}

fn is_worth_another(call: &ClientCall, error: &ApiError) -> bool {
    let candidate = call.candidate();
    candidate.is_some_and(|candidate| candidate.provider.is_worth_another(error.status))
}

fn has_next(call: &ClientCall) -> bool {
    let own = call.own_attempts.as_ref();
    own.is_some_and(|own| own.current.saturating_add(1) < call.plan.len())
}

/// Returns the number of the current attempt, counted from 1.
fn number(own: &OwnAttempts) -> u32 {
    u32::try_from(own.current.saturating_add(1)).unwrap_or(u32::MAX)
}
