//! Limits: the charges of a request, and requests to the control plane if this VM's leases don't
//! cover them.

use std::time::Instant;

use opentracy_proto::v1;
use opentracy_proto::v1::{Owner, Unit};
use opentracy_translate::error::ApiError;
use prost::Message as _;

use crate::control_plane;
use crate::gateway::charge::{Bucket, Charge};
use crate::gateway::leases::{self, Leases, Returns, TakeResult};
use crate::headers::HeaderList;
use crate::host::Host;
use crate::ids;
use crate::metrics;
use crate::snapshot::Snapshot;

const SERVICE: &str = "opentracy.v1.LimitService";
const METHOD: &str = "Acquire";
/// The estimate for an answer whose length the request doesn't limit.
const ANSWER_TOKENS: u64 = 256;
/// The estimated bytes of a request per token.
const BYTES_PER_TOKEN: u64 = 4;
/// The `retry-after` for a concurrency slot.
const SLOT_RETRY_SECONDS: u64 = 1;

/// Estimates the tokens that a request will use.
pub fn estimate_tokens(body_bytes: usize, max_tokens: Option<u64>) -> u64 {
    let asked = u64::try_from(body_bytes).unwrap_or(u64::MAX) / BYTES_PER_TOKEN;
    asked
        .saturating_add(max_tokens.unwrap_or(ANSWER_TOKENS))
        .max(1)
}

/// Returns the charges of a request against the limits of one owner.
pub fn charges(owner: Owner, name: &str, limits: &v1::Limits, tokens: u64) -> Vec<Charge> {
    let of = |unit, limit: Option<u64>, units| {
        limit.map(|limit| Charge {
            bucket: Bucket {
                owner,
                name: name.to_owned(),
                unit,
            },
            units,
            limit,
        })
    };
    [
        of(Unit::Requests, limits.requests_per_minute, 1),
        of(Unit::Tokens, limits.tokens_per_minute, tokens),
        of(Unit::Concurrent, limits.concurrent_requests, 1),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Returns the charges of a request against the limits of a model.
pub fn charges_of_model(
    snapshot: &Snapshot,
    provider: &str,
    model: &str,
    tokens: u64,
) -> Vec<Charge> {
    let own = snapshot.model(provider, model).limits;
    charges(Owner::Model, &format!("{provider}/{model}"), &own, tokens)
}

/// A call to the control plane that a request waits for.
///
/// Envoy cancels the calls of a stream that ends, but the control plane may have granted the units
/// already. A call that is dropped without its answer is therefore reported, and the control plane
/// takes its grants back. The answer can't be sent to the root context instead: the proxy-wasm SDK
/// returns it to the context whose callback made the call, and drops it if that one is gone.
pub struct PendingAcquire {
    pub grpc_call: u32,
    number: u64,
    missing: Vec<Charge>,
    is_answered: bool,
}

impl Drop for PendingAcquire {
    fn drop(&mut self) {
        if !self.is_answered {
            leases::with(|leases| leases.note_unanswered(self.number));
        }
    }
}

/// The result of admitting a request's charges.
pub enum Admission {
    Admitted,
    Pending(PendingAcquire),
    Refused(ApiError),
}

/// Takes the charges from this VM's leases, or requests more units.
pub fn admit(host: &impl Host, charges: &[Charge], snapshot: &Snapshot) -> Admission {
    if charges.is_empty() {
        return Admission::Admitted;
    }
    if let Some(charge) = charges.iter().find(|charge| charge.units > charge.limit) {
        return Admission::Refused(too_large(charge));
    }
    match leases::with(|leases| leases.take(charges, host.now())) {
        TakeResult::All => Admission::Admitted,
        TakeResult::Exhausted(charge, wait) => {
            Admission::Refused(exhausted(&charge, wait.as_secs() + 1))
        }
        TakeResult::Missing(missing) => ask_or_go_alone(host, charges, missing, snapshot),
    }
}

/// Resumes with the control plane's answer.
pub fn resume(
    host: &impl Host,
    charges: &[Charge],
    mut asked: PendingAcquire,
    snapshot: &Snapshot,
    status: u32,
    size: usize,
) -> Admission {
    let answer = control_plane::read_awaited::<v1::AcquireResponse>(host, status, size);
    let Some(answer) = answer else {
        return alone(host, charges, &asked.missing, snapshot);
    };
    if leases::with(|leases| leases.is_void(asked.number)) {
        // It is of a control plane that has restarted since.
        return alone(host, charges, &asked.missing, snapshot);
    }
    asked.is_answered = true;
    if answer.introduce {
        on_contact(host, true);
    }
    if answer.grants.len() < asked.missing.len() {
        return alone(host, charges, &asked.missing, snapshot);
    }
    let now = host.now();
    leases::with(|leases| leases.grant(&asked.missing, &answer, now));
    match leases::with(|leases| leases.take(charges, now)) {
        TakeResult::All => Admission::Admitted,
        TakeResult::Exhausted(charge, wait) => {
            Admission::Refused(exhausted(&charge, wait.as_secs() + 1))
        }
        TakeResult::Missing(missing) => {
            let denied = |charge: &&Charge| {
                let granted = asked.missing.iter().zip(&answer.grants);
                let mut granted = granted.filter(|(_, grant)| grant.units == 0);
                granted.any(|(asked, _)| asked.bucket == charge.bucket)
            };
            match missing.iter().find(denied) {
                Some(charge) => Admission::Refused(exhausted(charge, SLOT_RETRY_SECONDS)),
                // Other requests took the granted units while this one waited.
                None => ask_or_go_alone(host, charges, missing, snapshot),
            }
        }
    }
}

fn ask_or_go_alone(
    host: &impl Host,
    charges: &[Charge],
    missing: Vec<Charge>,
    snapshot: &Snapshot,
) -> Admission {
    if !leases::with(|leases| leases.is_known()) {
        return alone(host, charges, &missing, snapshot);
    }
    let wants = missing.iter().map(|charge| v1::Want {
        bucket: Some((&charge.bucket).into()),
        units: charge.units,
    });
    let number = leases::with(Leases::next_request);
    let request = v1::AcquireRequest {
        vm: ids::of_vm(host),
        wants: wants.collect(),
        number,
        ..v1::AcquireRequest::default()
    };
    let message = request.encode_to_vec();
    match control_plane::ask(host, SERVICE, METHOD, &message, snapshot.limit_deadline) {
        Some(grpc_call) => Admission::Pending(PendingAcquire {
            grpc_call,
            number,
            missing,
            is_answered: false,
        }),
        None => alone(host, charges, &missing, snapshot),
    }
}

/// Admits or refuses the charges without the control plane.
fn alone(
    host: &impl Host,
    charges: &[Charge],
    missing: &[Charge],
    snapshot: &Snapshot,
) -> Admission {
    if snapshot.refuse_without_limits {
        let words = "The gateway can't check the call's limits: its control plane does not answer. Try again";
        return Admission::Refused(ApiError::new(503, words).with_code("limits_unavailable"));
    }
    let now = host.now();
    leases::with(|leases| leases.grant_alone(missing, now));
    match leases::with(|leases| leases.take(charges, now)) {
        TakeResult::All => Admission::Admitted,
        TakeResult::Exhausted(charge, wait) => {
            Admission::Refused(exhausted(&charge, wait.as_secs() + 1))
        }
        TakeResult::Missing(missing) => match missing.first() {
            Some(charge) => Admission::Refused(exhausted(charge, SLOT_RETRY_SECONDS)),
            None => Admission::Admitted,
        },
    }
}

/// Settles the charges of a request that has ended; `tokens` is its actual usage.
pub fn settle(host: &impl Host, charges: &[Charge], tokens: u64, since: Instant) {
    let now = host.now();
    leases::with(|leases| {
        for charge in charges {
            match charge.bucket.unit {
                Unit::Requests => {}
                Unit::Tokens => leases.settle(charge, tokens, since, now),
                Unit::Concurrent => leases.release(charge, now),
            }
        }
    });
}

/// A report of returned units that the control plane has not acknowledged.
pub struct PendingReturns {
    grpc_call: u32,
    number: u64,
    returns: Returns,
}

impl PendingReturns {
    pub fn is_call(&self, grpc_call: u32) -> bool {
        self.grpc_call == grpc_call
    }

    /// Handles the answer. A report that failed is repeated.
    pub fn on_answer(&self, host: &impl Host, status: u32, size: usize) {
        match control_plane::read::<v1::AcquireResponse>(host, status, size) {
            None => {}
            Some(answer) if answer.introduce => on_contact(host, true),
            Some(_) => leases::with(|leases| {
                if !leases.is_void(self.number) {
                    leases.acknowledge(&self.returns);
                }
            }),
        }
    }
}

/// Returns unused units to the control plane, and reports requests that got no answer. Called in
/// the root context, because Envoy cancels the calls of a stream that ends.
pub fn give_back(host: &impl Host, snapshot: &Snapshot) -> Option<PendingReturns> {
    let now = host.now();
    let (number, returns) = leases::with(|leases| {
        leases.forget_old(now);
        let returns = leases.give_back(now)?;
        Some((leases.next_request(), returns))
    })?;
    let request = v1::AcquireRequest {
        vm: ids::of_vm(host),
        wants: Vec::new(),
        released: returns.released.clone(),
        number,
        unanswered: returns.unanswered.clone(),
    };
    let message = request.encode_to_vec();
    let deadline = snapshot.limit_deadline;
    let grpc_call = control_plane::call(host, SERVICE, METHOD, &message, deadline)?;
    Some(PendingReturns {
        grpc_call,
        number,
        returns,
    })
}

/// Returns the introduction for the next poll of the configuration; `None` if the control plane
/// knows this VM.
pub fn introduction(host: &impl Host) -> Option<v1::Introduction> {
    leases::with(|leases| leases.introduction(host.now()))
}

/// Records whether the answer to a poll asks for an introduction.
pub fn on_contact(host: &impl Host, is_asked: bool) {
    leases::with(|leases| leases.on_contact(is_asked, host.now()));
}

/// Returns once that a poll is due at once, to introduce this VM.
pub fn take_introduction_due() -> bool {
    leases::with(Leases::take_introduction_due)
}

/// Counts a call that a limit refused.
pub fn count_refusal(host: &impl Host, error: &ApiError) {
    metrics::count_limited(host, error.code.as_deref().unwrap_or_default());
}

/// Sets the number of VMs that share the limits if the control plane doesn't answer.
pub fn share_with(vms: u32) {
    leases::with(|leases| leases.share_with(vms));
}

/// Adds the rate-limit headers that OpenAI's SDKs read, from the first owner that has such a limit.
pub fn add_headers(host: &impl Host, charges: &[Charge], response: &mut HeaderList<'_>) {
    const OF_REQUESTS: [&str; 3] = [
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
    ];
    const OF_TOKENS: [&str; 3] = [
        "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-tokens",
    ];
    if charges.is_empty() {
        return;
    }
    let now = host.now();
    for (unit, [limit, remaining, reset]) in
        [(Unit::Requests, OF_REQUESTS), (Unit::Tokens, OF_TOKENS)]
    {
        let standing = charges
            .iter()
            .find(|charge| charge.bucket.unit == unit)
            .and_then(|charge| leases::with(|leases| leases.standing(charge, now)));
        if let Some(standing) = standing {
            // Replaces the provider's own headers, which are about the gateway's account.
            response.set(limit, standing.limit.to_string());
            response.set(remaining, standing.remaining.to_string());
            response.set(reset, format!("{}ms", standing.reset.as_millis()));
        }
    }
}

fn exhausted(charge: &Charge, retry_after: u64) -> ApiError {
    let (kind, name) = (kind(charge.bucket.owner), &charge.bucket.name);
    let (what, code) = describe(charge.bucket.unit);
    let message = format!(
        "The {kind} \"{name}\" has reached its limit of {} {what}. Try again in {retry_after} s",
        charge.limit
    );
    ApiError {
        retry_after: Some(retry_after),
        ..ApiError::new(429, message).with_code(code)
    }
}

/// Returns the error for a charge over the whole limit, for which waiting doesn't help.
fn too_large(charge: &Charge) -> ApiError {
    let (kind, name) = (kind(charge.bucket.owner), &charge.bucket.name);
    let (what, code) = describe(charge.bucket.unit);
    let message = match charge.bucket.unit {
        Unit::Tokens => format!(
            "The request is about {} tokens, more than the {kind} \"{name}\" may use in a minute ({}). Send less, or lower the maximum length of the answer",
            charge.units, charge.limit
        ),
        Unit::Requests | Unit::Concurrent => format!(
            "The {kind} \"{name}\" has a limit of {} {what}, so it can't be used",
            charge.limit
        ),
    };
    ApiError::new(429, message).with_code(code)
}

/// Returns the name of a unit for messages, and the code of an error about it.
const fn describe(unit: Unit) -> (&'static str, &'static str) {
    match unit {
        Unit::Requests => ("requests per minute", "rate_limit_exceeded"),
        Unit::Tokens => ("tokens per minute", "rate_limit_exceeded"),
        Unit::Concurrent => ("concurrent requests", "concurrency_limit_exceeded"),
    }
}

const fn kind(owner: Owner) -> &'static str {
    match owner {
        Owner::Key => "key",
        Owner::Alias => "alias",
        Owner::Model => "model",
    }
}
