//! Grants of limits, across all VMs of all Envoys.
//!
//! A VM is granted a share of a limit, from which it serves its requests without asking again.
//! Shares are small enough that the unused rest of all VMs at the end of a window is at most two
//! percent of the limit, and the sum of all grants never exceeds the limit.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use opentracy_config::{Config, Limits as Configured};
use opentracy_proto::bucket::Bucket;
use opentracy_proto::constants::{LEASE_DIVISOR, POLL_EVERY};
use opentracy_proto::v1;
use opentracy_proto::v1::Owner;

use crate::accounts::{Account, current_window};

/// Number of accounts at which those of past windows are evicted.
const MANY: usize = 1000;
/// Number of requests of a VM whose grants are remembered. A VM reports within seconds that it got
/// no answer.
const MANY_REQUESTS: usize = 4096;
/// The `reset_ms` of a grant that no limit applies to.
const UNLIMITED_RESET_MS: u64 = 60_000;
/// Time after a restart in which nothing is granted. When it has passed, all VMs have polled the
/// configuration and have introduced themselves.
const SETTLING: Duration = POLL_EVERY.saturating_mul(2);

/// A grant that may have to be taken back.
struct Granted {
    bucket: Bucket,
    window: u64,
    units: u64,
}

/// A VM that has introduced itself.
#[derive(Default)]
struct Vm {
    /// The number of its introduction. Earlier requests are void.
    introduction: u64,
    /// Its latest requests by their numbers, with their grants; `None` if the VM has reported that
    /// it got no answer.
    requests: BTreeMap<u64, Option<Vec<Granted>>>,
}

impl Vm {
    fn insert(&mut self, number: u64, grants: Option<Vec<Granted>>) {
        self.requests.insert(number, grants);
        if self.requests.len() > MANY_REQUESTS {
            self.requests.pop_first();
        }
    }
}

#[derive(Default)]
struct State {
    accounts: HashMap<Bucket, Account>,
    vms: HashMap<String, Vm>,
    /// The time of the first introduction, in milliseconds since the Unix epoch.
    met_first_at: Option<u64>,
    /// Set once a VM has introduced itself that an earlier start of the control plane knew.
    is_restarted: bool,
}

#[derive(Default)]
pub struct LimitLedger(Mutex<State>);

impl LimitLedger {
    /// Records the units that a VM holds, which an earlier start of the control plane granted.
    pub fn introduce(&self, vm: &str, introduction: v1::Introduction, now: jiff::Timestamp) {
        let now_ms = millis(now);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.met_first_at.get_or_insert(now_ms);
        state.is_restarted |= introduction.again;
        let number = introduction.number;
        let known = state.vms.get(vm);
        if known.is_some_and(|known| known.introduction >= number) {
            return;
        }
        let introduced = Vm {
            introduction: number,
            ..Vm::default()
        };
        state.vms.insert(vm.to_owned(), introduced);
        for (bucket, account) in &mut state.accounts {
            if let Some(units) = account.by_vm.get_mut(vm) {
                units.released = 0;
                if bucket.kind().window.is_none() {
                    units.held = 0;
                }
            }
        }
        for held in introduction.held {
            let Some(bucket) = known_bucket(held.bucket) else {
                continue;
            };
            let (window, _) = current_window(bucket.kind(), now_ms);
            let account = state.accounts.entry(bucket).or_default();
            account.turn(window);
            let own = account.of(vm);
            own.held = own.held.max(held.units);
        }
    }

    /// Returns whether a VM has introduced itself.
    pub fn knows(&self, vm: &str) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.vms.contains_key(vm)
    }

    pub fn acquire(
        &self,
        request: v1::AcquireRequest,
        config: &Config,
        alive: &HashSet<String>,
        now: jiff::Timestamp,
    ) -> v1::AcquireResponse {
        let vms = u64::try_from(alive.len()).unwrap_or(1).max(1);
        let now_ms = millis(now);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.evict(&request.vm, alive, now_ms);
        // A filter of an earlier release doesn't number its requests, and can't introduce itself.
        let is_numbered = request.number != 0;
        match state.vms.get(&request.vm) {
            None if is_numbered => {
                return v1::AcquireResponse {
                    introduce: true,
                    ..v1::AcquireResponse::default()
                };
            }
            Some(vm) if is_numbered && request.number < vm.introduction => {
                return v1::AcquireResponse::default();
            }
            _ => {}
        }
        state.release(&request.vm, request.released);
        state.take_back(&request.vm, &request.unanswered);
        let vm = state.vms.get(&request.vm);
        // The VM may have given up on this request before it arrived here.
        let is_given_up = vm.is_some_and(|vm| vm.requests.contains_key(&request.number));
        if is_given_up || state.is_settling(now_ms) {
            return v1::AcquireResponse::default();
        }
        let mut made = Vec::new();
        let grants = request.wants.into_iter().map(|want| {
            let limited = known_bucket(want.bucket).and_then(|bucket| {
                let limit = limit(config, &bucket)?;
                Some((bucket, limit))
            });
            let Some((bucket, limit)) = limited else {
                // The limit was removed from the configuration, so nothing is limited.
                return v1::Grant {
                    units: want.units,
                    limit: u64::MAX,
                    remaining: u64::MAX,
                    reset_ms: UNLIMITED_RESET_MS,
                };
            };
            let piece = (limit / LEASE_DIVISOR / vms).max(want.units);
            let (window, reset_ms) = current_window(bucket.kind(), now_ms);
            let account = state.accounts.entry(bucket.clone()).or_default();
            account.turn(window);
            let left = limit.saturating_sub(account.held());
            let units = granted(left, piece, want.units);
            account.of(&request.vm).held += units;
            if units > 0 {
                made.push(Granted {
                    bucket,
                    window,
                    units,
                });
            }
            v1::Grant {
                units,
                limit,
                remaining: left - units,
                reset_ms,
            }
        });
        let grants = grants.collect();
        if let Some(vm) = state.vms.get_mut(&request.vm)
            && !made.is_empty()
        {
            vm.insert(request.number, Some(made));
        }
        v1::AcquireResponse {
            grants,
            introduce: false,
        }
    }
}

impl State {
    /// Returns whether VMs may still hold units of an earlier start of the control plane that they
    /// have not reported.
    fn is_settling(&self, now_ms: u64) -> bool {
        let first = self.met_first_at.filter(|_| self.is_restarted);
        first.is_some_and(|first| Duration::from_millis(now_ms.saturating_sub(first)) < SETTLING)
    }

    /// Frees the slots of VMs that are gone, and drops accounts without use.
    fn evict(&mut self, vm: &str, alive: &HashSet<String>, now_ms: u64) {
        let is_alive = |name: &String| name == vm || alive.contains(name);
        self.vms.retain(|name, _| is_alive(name));
        let is_many = self.accounts.len() > MANY;
        self.accounts.retain(|bucket, account| {
            let kind = bucket.kind();
            let is_slots = kind.window.is_none();
            let is_current = !is_slots && account.window == current_window(kind, now_ms).0;
            // The units of this window are used up, even if their VM is gone.
            account
                .by_vm
                .retain(|name, units| is_alive(name) || is_current && units.held > 0);
            !is_many || is_slots || is_current
        });
    }

    /// Applies the releases of a VM.
    fn release(&mut self, vm: &str, released: Vec<v1::Released>) {
        for each in released {
            let Some(bucket) = known_bucket(each.bucket) else {
                continue;
            };
            // Counts are cumulative because reports may arrive out of order.
            let own = self.accounts.entry(bucket).or_default().of(vm);
            let more = each.units.saturating_sub(own.released);
            own.released += more;
            own.held = own.held.saturating_sub(more);
        }
    }

    /// Takes the grants of requests back whose answer did not arrive.
    fn take_back(&mut self, vm: &str, unanswered: &[u64]) {
        let Some(known) = self.vms.get_mut(vm) else {
            return;
        };
        for number in unanswered {
            for grant in known.requests.remove(number).flatten().unwrap_or_default() {
                if let Some(account) = self.accounts.get_mut(&grant.bucket)
                    && account.window == grant.window
                {
                    let own = account.of(vm);
                    own.held = own.held.saturating_sub(grant.units);
                }
            }
            // The request itself may still be on its way.
            known.insert(*number, None);
        }
    }
}

fn millis(time: jiff::Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or_default()
}

/// Returns the bucket of a message; `None` for a kind of a later release, which the configuration
/// of this one can't limit.
fn known_bucket(bucket: Option<v1::Bucket>) -> Option<Bucket> {
    Bucket::try_from(bucket?).ok()
}

/// Returns the share, or the rest of the limit, if it covers the need; 0 otherwise.
fn granted(left: u64, piece: u64, needed: u64) -> u64 {
    match left.min(piece) {
        units if units >= needed => units,
        _ => 0,
    }
}

fn limit(config: &Config, bucket: &Bucket) -> Option<u64> {
    let limits: Configured = match bucket.owner {
        Owner::Key => config.keys.get(&bucket.name)?.value.limits,
        Owner::Alias => config.aliases.get(&bucket.name)?.value.limits,
        Owner::Model => config.limits.models.get(&bucket.name)?.value,
    };
    bucket.kind().limit(&limits.into())
}
