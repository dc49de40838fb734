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

#[cfg(test)]
mod tests {
    use opentracy_proto::limit_kinds::LimitKind;
    use opentracy_proto::v1::Unit;

    use super::*;

    /// Returns a configuration with a key whose rates are 1000 units and that has 3 slots.
    fn config() -> Config {
        let limit = |kind: &LimitKind| kind.window.map_or(3, |_| 1000);
        let limits = LimitKind::all().map(|kind| format!("{}: {}", kind.key, limit(kind)));
        let limits: Vec<_> = limits.collect();
        let limits = limits.join(", ");
        serde_saphyr::from_str(&format!(
            "keys:\n  a: {{key_env: X, limits: {{{limits}}}}}\n"
        ))
        .unwrap()
    }

    fn bucket(unit: Unit) -> v1::Bucket {
        v1::Bucket {
            owner: Owner::Key.into(),
            name: "a".to_owned(),
            unit: unit.into(),
        }
    }

    /// Introduces a VM that holds concurrent requests.
    fn meet(limits: &LimitLedger, vm: &str, held: u64, number: u64, again: bool) {
        let held = v1::Held {
            bucket: Some(bucket(Unit::Concurrent)),
            units: held,
        };
        let introduction = v1::Introduction {
            number,
            held: vec![held],
            again,
        };
        limits.introduce(vm, introduction, jiff::Timestamp::UNIX_EPOCH);
    }

    /// Requests one slot; returns the granted ones, if any request is granted, and whether the VM
    /// has to introduce itself.
    fn slot(
        limits: &LimitLedger,
        vm: &str,
        number: u64,
        released: u64,
        at_ms: i64,
    ) -> (Option<u64>, bool) {
        let request = v1::AcquireRequest {
            vm: vm.to_owned(),
            wants: vec![v1::Want {
                bucket: Some(bucket(Unit::Concurrent)),
                units: 1,
            }],
            released: vec![v1::Released {
                bucket: Some(bucket(Unit::Concurrent)),
                units: released,
            }],
            number,
            unanswered: Vec::new(),
        };
        let now = jiff::Timestamp::from_millisecond(at_ms).unwrap();
        let alive = ["x", "y"].map(str::to_owned).into();
        let answer = limits.acquire(request, &config(), &alive, now);
        let granted = answer.grants.first().map(|grant| grant.units);
        (granted, answer.introduce)
    }

    fn ask(
        limits: &LimitLedger,
        vm: &str,
        unit: Unit,
        units: u64,
        released: u64,
        at_ms: i64,
    ) -> v1::Grant {
        let bucket = bucket(unit);
        let released = v1::Released {
            bucket: Some(bucket.clone()),
            units: released,
        };
        let request = v1::AcquireRequest {
            vm: vm.to_owned(),
            wants: vec![v1::Want {
                bucket: Some(bucket),
                units,
            }],
            released: vec![released],
            ..v1::AcquireRequest::default()
        };
        let now = jiff::Timestamp::from_millisecond(at_ms).unwrap();
        let alive = ["x", "y"].map(str::to_owned).into();
        limits.acquire(request, &config(), &alive, now).grants[0]
    }

    #[test]
    fn pieces_of_a_window_never_add_up_to_more_than_the_limit() {
        for kind in LimitKind::all() {
            let Some(window) = kind.window else { continue };
            let length = i64::try_from(window.length.as_millis()).unwrap();
            let limits = LimitLedger::default();
            let mut total = 0;
            for turn in 0..200 {
                let vm = if turn % 2 == 0 { "x" } else { "y" };
                let grant = ask(&limits, vm, kind.unit, 1, 0, length + turn);
                assert!(grant.units <= 10, "a piece for two VMs is a hundredth");
                total += grant.units;
            }
            assert_eq!(total, 1000, "{}", kind.key);
            let late = ask(&limits, "x", kind.unit, 1, 0, 2 * length - 1000);
            assert_eq!((late.units, late.reset_ms), (0, 1000), "{}", kind.key);
            let next = ask(&limits, "x", kind.unit, 1, 0, 2 * length);
            assert_eq!(next.units, 10, "{}", kind.key);
        }
    }

    #[test]
    fn a_kind_of_a_later_release_is_not_limited() {
        let request = v1::AcquireRequest {
            vm: "x".to_owned(),
            wants: vec![v1::Want {
                bucket: Some(v1::Bucket {
                    unit: 1000,
                    ..bucket(Unit::Requests)
                }),
                units: 2000,
            }],
            ..v1::AcquireRequest::default()
        };
        let limits = LimitLedger::default();
        let alive = HashSet::default();
        let answer = limits.acquire(request, &config(), &alive, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(answer.grants[0].units, 2000);
        assert_eq!(ask(&limits, "x", Unit::Requests, 1000, 0, 0).units, 1000);
    }

    #[test]
    fn what_is_more_than_is_left_is_not_granted_in_part() {
        let limits = LimitLedger::default();
        assert_eq!(ask(&limits, "x", Unit::Requests, 990, 0, 0).units, 990);
        assert_eq!(ask(&limits, "x", Unit::Requests, 11, 0, 1).units, 0);
        assert_eq!(ask(&limits, "x", Unit::Requests, 10, 0, 2).units, 10);
    }

    #[test]
    fn tokens_that_were_not_used_are_there_for_others() {
        let limits = LimitLedger::default();
        let ask = |vm, units, released| ask(&limits, vm, Unit::Tokens, units, released, 0).units;
        assert_eq!(ask("x", 900, 0), 900);
        assert_eq!(ask("y", 200, 0), 0);
        assert_eq!(ask("x", 10, 850), 10);
        assert_eq!(ask("y", 200, 0), 200);
    }

    #[test]
    fn slots_are_held_until_they_are_given_back() {
        let limits = LimitLedger::default();
        let ask = |vm, released| ask(&limits, vm, Unit::Concurrent, 1, released, 0).units;
        assert_eq!([ask("x", 0), ask("x", 0), ask("y", 0)], [1, 1, 1]);
        assert_eq!(ask("y", 0), 0, "all three are held");
        assert_eq!(ask("x", 1), 1, "one of two was given back");
        assert_eq!(ask("x", 1), 0, "the same release is reported again");
    }

    #[test]
    fn the_grant_of_a_request_without_an_answer_is_taken_back_once() {
        let limits = LimitLedger::default();
        let acquire = |number, units, unanswered: &[u64]| {
            let wants = [Unit::Concurrent, Unit::Tokens].map(|unit| v1::Want {
                bucket: Some(bucket(unit)),
                units,
            });
            let request = v1::AcquireRequest {
                vm: "x".to_owned(),
                wants: wants.to_vec(),
                released: Vec::new(),
                number,
                unanswered: unanswered.to_vec(),
            };
            let alive = ["x".to_owned()].into();
            let answer = limits.acquire(request, &config(), &alive, jiff::Timestamp::UNIX_EPOCH);
            let units = answer.grants.iter().map(|grant| grant.units);
            units.collect::<Vec<_>>()
        };
        meet(&limits, "x", 0, 1, false);
        assert_eq!(acquire(1, 3, &[]), [3, 20]);
        assert_eq!(acquire(2, 1, &[]), [0, 20]);
        assert_eq!(acquire(3, 3, &[1]), [3, 20], "what the first one had");
        assert_eq!(acquire(4, 1, &[1]), [0, 20], "the same report again");
        acquire(5, 0, &[6]);
        assert!(acquire(6, 1, &[]).is_empty(), "its VM no longer waits");
    }

    #[test]
    fn after_a_restart_slots_that_vms_still_hold_count() {
        let limits = LimitLedger::default();
        assert_eq!(slot(&limits, "x", 8, 5, 0), (None, true), "unknown");
        assert!(!limits.knows("x"));
        meet(&limits, "x", 2, 9, true);
        assert!(limits.knows("x"));
        let early = slot(&limits, "x", 10, 0, 1999);
        assert_eq!(early, (None, false), "others may hold some, too");
        meet(&limits, "y", 1, 5, true);
        assert_eq!(slot(&limits, "x", 8, 5, 2000), (None, false), "of before");
        assert_eq!(slot(&limits, "y", 6, 0, 2000).0, Some(0), "three are held");
        assert_eq!(slot(&limits, "x", 11, 1, 2000).0, Some(1), "one is free");
        assert_eq!(slot(&limits, "y", 7, 1, 2000).0, Some(1));
        assert_eq!(slot(&limits, "y", 8, 1, 2000).0, Some(0));
    }

    #[test]
    fn a_vm_that_was_not_heard_from_introduces_itself_again() {
        let limits = LimitLedger::default();
        meet(&limits, "away", 0, 1, false);
        assert_eq!(slot(&limits, "away", 2, 0, 5000).0, Some(1));
        meet(&limits, "x", 0, 1, false);
        assert_eq!(slot(&limits, "x", 2, 0, 5000).0, Some(1), "away is gone");
        assert_eq!(slot(&limits, "away", 3, 1, 5000), (None, true));
        meet(&limits, "away", 1, 4, true);
        meet(&limits, "away", 1, 4, true);
        assert_eq!(slot(&limits, "away", 5, 0, 5000).0, Some(1));
        assert_eq!(slot(&limits, "away", 6, 0, 5000).0, Some(0));
    }

    #[test]
    fn what_a_vm_held_that_is_gone_is_free_again() {
        let limits = LimitLedger::default();
        let ask = |vm| ask(&limits, vm, Unit::Concurrent, 1, 0, 0).units;
        assert_eq!([ask("gone"), ask("gone"), ask("gone")], [1, 1, 1]);
        assert_eq!(ask("x"), 1);
    }
}
