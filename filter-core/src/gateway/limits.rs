//! Limits: admits charges from this VM's leases, or requests units of the control plane.

use std::time::Instant;

use opentracy_proto::limit_kinds::LimitKind;
use opentracy_proto::v1;
use opentracy_translate::error::ApiError;
use prost::Message as _;

use crate::control_plane;
use crate::gateway::charge::{Charge, Consumption};
use crate::gateway::leases::{self, Returns, TakeResult};
use crate::gateway::limit_errors::{self, exhausted, too_large};
use crate::headers::HeaderList;
use crate::host::Host;
use crate::ids;
use crate::metrics;
use crate::siblings;
use crate::snapshot::Snapshot;

const SERVICE: &str = "opentracy.v1.LimitService";
const METHOD: &str = "Acquire";
/// The `retry-after` for a concurrency slot.
const SLOT_RETRY_SECONDS: u64 = 1;

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
            leases::with(|leases| leases.acquaintance.note_unanswered(self.number));
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
    if leases::with(|leases| leases.acquaintance.is_void(asked.number)) {
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
    if !leases::with(|leases| leases.acquaintance.is_known()) {
        return alone(host, charges, &missing, snapshot);
    }
    let wants = missing.iter().map(|charge| v1::Want {
        bucket: Some((&charge.bucket).into()),
        units: charge.units,
    });
    let number = leases::with(|leases| leases.acquaintance.next_request());
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
        return Admission::Refused(limit_errors::unavailable());
    }
    let now = host.now();
    let siblings = siblings::count(host);
    leases::with(|leases| leases.grant_alone(missing, siblings, now));
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

/// Settles the charges of a request that came at `since` and has ended.
pub fn settle(host: &impl Host, charges: &[Charge], actual: &Consumption, since: Instant) {
    let now = host.now();
    leases::with(|leases| {
        for charge in charges {
            let units = actual.units(charge.bucket.kind().measure);
            leases.settle(charge, units, since, now);
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
                if !leases.acquaintance.is_void(self.number) {
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
        Some((leases.acquaintance.next_request(), returns))
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
    leases::with(|leases| leases.acquaintance.take_introduction_due())
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
    if charges.is_empty() {
        return;
    }
    let now = host.now();
    for kind in LimitKind::all() {
        let Some(names) = &kind.headers else { continue };
        let standing = charges
            .iter()
            .find(|charge| charge.bucket.unit == kind.unit)
            .and_then(|charge| leases::with(|leases| leases.standing(charge, now)));
        if let Some(standing) = standing {
            // Replaces the provider's own headers, which are about the gateway's account.
            response.set(names.limit, standing.limit.to_string());
            response.set(names.remaining, standing.remaining.to_string());
            response.set(names.reset, format!("{}ms", standing.reset.as_millis()));
        }
    }
}
