//! Grants of limits, across all VMs of all Envoys.
//!
//! A VM is granted a share of a limit, from which it serves its requests without asking again.
//! Shares are small enough that the unused rest of all VMs at the end of a minute is at most two
//! percent of the limit, and the sum of all grants never exceeds the limit.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use opentracy_proto::constants::LEASE_DIVISOR;
use opentracy_proto::v1;
use opentracy_proto::v1::{Owner, Unit};

use crate::config::{Config, Limits as Configured};

/// Number of windows at which those of past minutes are evicted.
const MANY: usize = 1000;
const MINUTE_MS: u64 = 60_000;

/// The subject and unit of a limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Bucket {
    owner: i32,
    name: String,
    unit: i32,
}

/// The amount granted in one minute.
#[derive(Default)]
struct Window {
    /// Minutes since the Unix epoch.
    minute: u64,
    granted: u64,
}

/// A VM's grants of concurrent requests and its releases of concurrent requests or tokens, since it
/// started.
#[derive(Default)]
struct Slots {
    granted: u64,
    released: u64,
}

impl Slots {
    fn held(&self) -> u64 {
        self.granted.saturating_sub(self.released)
    }
}

#[derive(Default)]
struct State {
    windows: HashMap<Bucket, Window>,
    /// By bucket and VM.
    slots: HashMap<Bucket, HashMap<String, Slots>>,
}

#[derive(Default)]
pub struct Limits(Mutex<State>);

impl Limits {
    pub fn acquire(
        &self,
        request: v1::AcquireRequest,
        config: &Config,
        alive: &HashSet<String>,
        now: jiff::Timestamp,
    ) -> v1::AcquireResponse {
        let vms = u64::try_from(alive.len()).unwrap_or(1).max(1);
        let now_ms = u64::try_from(now.as_millisecond()).unwrap_or_default();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.release(&request.vm, request.released, alive);
        let wants = request.wants.into_iter();
        let grants = wants.map(|want| {
            let bucket = want.bucket.unwrap_or_default();
            let Some(limit) = limit(config, &bucket) else {
                // The limit was removed from the configuration, so nothing is limited.
                return v1::Grant {
                    units: want.units,
                    limit: u64::MAX,
                    remaining: u64::MAX,
                    reset_ms: MINUTE_MS,
                };
            };
            let piece = (limit / LEASE_DIVISOR / vms).max(want.units);
            match bucket.unit() {
                Unit::Concurrent => {
                    state.take_slots(bucket.into(), &request.vm, limit, piece, want.units)
                }
                Unit::Requests | Unit::Tokens => {
                    state.take(bucket.into(), limit, piece, want.units, now_ms)
                }
            }
        });
        v1::AcquireResponse {
            grants: grants.collect(),
        }
    }
}

impl State {
    fn take(
        &mut self,
        bucket: Bucket,
        limit: u64,
        piece: u64,
        needed: u64,
        now_ms: u64,
    ) -> v1::Grant {
        let minute = now_ms / MINUTE_MS;
        if self.windows.len() > MANY {
            self.windows.retain(|_, window| window.minute == minute);
        }
        let window = self.windows.entry(bucket).or_default();
        if window.minute != minute {
            *window = Window { minute, granted: 0 };
        }
        let left = limit.saturating_sub(window.granted);
        let units = granted(left, piece, needed);
        window.granted += units;
        v1::Grant {
            units,
            limit,
            remaining: left - units,
            reset_ms: MINUTE_MS - now_ms % MINUTE_MS,
        }
    }

    fn take_slots(
        &mut self,
        bucket: Bucket,
        vm: &str,
        limit: u64,
        piece: u64,
        needed: u64,
    ) -> v1::Grant {
        let slots = self.slots.entry(bucket).or_default();
        let held: u64 = slots.values().map(Slots::held).sum();
        let left = limit.saturating_sub(held);
        let units = granted(left, piece, needed);
        slots.entry(vm.to_owned()).or_default().granted += units;
        v1::Grant {
            units,
            limit,
            remaining: left - units,
            reset_ms: 0,
        }
    }

    /// Applies the releases of a VM, and frees the slots of VMs that are gone.
    fn release(&mut self, vm: &str, released: Vec<v1::Released>, alive: &HashSet<String>) {
        for of_bucket in self.slots.values_mut() {
            of_bucket.retain(|name, _| name == vm || alive.contains(name));
        }
        for each in released {
            let bucket: Bucket = each.bucket.unwrap_or_default().into();
            let slots = self.slots.entry(bucket.clone()).or_default();
            // Counts are cumulative because reports may arrive out of order.
            let own = slots.entry(vm.to_owned()).or_default();
            let more = each.units.saturating_sub(own.released);
            own.released += more;
            if bucket.unit == i32::from(Unit::Tokens)
                && let Some(window) = self.windows.get_mut(&bucket)
            {
                window.granted = window.granted.saturating_sub(more);
            }
        }
    }
}

/// Returns the share, or the rest of the limit, if it covers the need; 0 otherwise.
fn granted(left: u64, piece: u64, needed: u64) -> u64 {
    match left.min(piece) {
        units if units >= needed => units,
        _ => 0,
    }
}

fn limit(config: &Config, bucket: &v1::Bucket) -> Option<u64> {
    let limits: Configured = match bucket.owner() {
        Owner::Key => config.keys.get(&bucket.name)?.value.limits,
        Owner::Alias => config.aliases.get(&bucket.name)?.value.limits,
        Owner::Model => config.limits.models.get(&bucket.name)?.value,
    };
    match bucket.unit() {
        Unit::Requests => limits.requests_per_minute,
        Unit::Tokens => limits.tokens_per_minute,
        Unit::Concurrent => limits.concurrent_requests,
    }
}

impl From<v1::Bucket> for Bucket {
    fn from(bucket: v1::Bucket) -> Self {
        Self {
            owner: bucket.owner,
            name: bucket.name,
            unit: bucket.unit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        serde_saphyr::from_str(
            "keys:\n  a: {key_env: X, limits: {requests_per_minute: 1000, tokens_per_minute: 1000, concurrent_requests: 3}}\n",
        )
        .unwrap()
    }

    fn ask(
        limits: &Limits,
        vm: &str,
        unit: Unit,
        units: u64,
        released: u64,
        at_ms: i64,
    ) -> v1::Grant {
        let bucket = v1::Bucket {
            owner: Owner::Key.into(),
            name: "a".to_owned(),
            unit: unit.into(),
        };
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
        };
        let now = jiff::Timestamp::from_millisecond(at_ms).unwrap();
        let alive = ["x", "y"].map(str::to_owned).into();
        limits.acquire(request, &config(), &alive, now).grants[0]
    }

    #[test]
    fn pieces_never_add_up_to_more_than_the_limit() {
        let limits = Limits::default();
        let mut total = 0;
        for turn in 0..200 {
            let vm = if turn % 2 == 0 { "x" } else { "y" };
            let grant = ask(&limits, vm, Unit::Requests, 1, 0, 60_000 + turn);
            assert!(grant.units <= 10, "a piece for two VMs is a hundredth");
            total += grant.units;
        }
        assert_eq!(total, 1000);
        assert_eq!(
            ask(&limits, "x", Unit::Requests, 1, 0, 119_000).reset_ms,
            1000
        );
        assert_eq!(ask(&limits, "x", Unit::Requests, 1, 0, 120_000).units, 10);
    }

    #[test]
    fn what_is_more_than_is_left_is_not_granted_in_part() {
        let limits = Limits::default();
        assert_eq!(ask(&limits, "x", Unit::Requests, 990, 0, 0).units, 990);
        assert_eq!(ask(&limits, "x", Unit::Requests, 11, 0, 1).units, 0);
        assert_eq!(ask(&limits, "x", Unit::Requests, 10, 0, 2).units, 10);
    }

    #[test]
    fn tokens_that_were_not_used_are_there_for_others() {
        let limits = Limits::default();
        let ask = |vm, units, released| ask(&limits, vm, Unit::Tokens, units, released, 0).units;
        assert_eq!(ask("x", 900, 0), 900);
        assert_eq!(ask("y", 200, 0), 0);
        assert_eq!(ask("x", 10, 850), 10);
        assert_eq!(ask("y", 200, 0), 200);
    }

    #[test]
    fn slots_are_held_until_they_are_given_back() {
        let limits = Limits::default();
        let ask = |vm, released| ask(&limits, vm, Unit::Concurrent, 1, released, 0).units;
        assert_eq!([ask("x", 0), ask("x", 0), ask("y", 0)], [1, 1, 1]);
        assert_eq!(ask("y", 0), 0, "all three are held");
        assert_eq!(ask("x", 1), 1, "one of two was given back");
        assert_eq!(ask("x", 1), 0, "the same release is reported again");
    }

    #[test]
    fn what_a_vm_held_that_is_gone_is_free_again() {
        let limits = Limits::default();
        let ask = |vm| ask(&limits, vm, Unit::Concurrent, 1, 0, 0).units;
        assert_eq!([ask("gone"), ask("gone"), ask("gone")], [1, 1, 1]);
        assert_eq!(ask("x"), 1);
    }
}
