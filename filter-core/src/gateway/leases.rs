//! Leases: this VM's granted share of each limit, from which its requests are served.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use opentracy_proto::bucket::Bucket;
use opentracy_proto::v1;

use crate::gateway::acquaintance::Acquaintance;
use crate::gateway::charge::Charge;
use crate::gateway::lease::Lease;
use crate::vm::vm_local;

/// The last part of a window, in which returned units would come too late.
const LATE: Duration = Duration::from_secs(1);
/// The time for which a denial of estimated units holds. Other VMs return those that requests
/// didn't use, on their ticks.
const DENIAL_HOLDS: Duration = Duration::from_millis(100);
/// The number of leases above which unused ones are evicted.
const MANY: usize = 5000;

/// The result of taking charges.
#[derive(Debug, PartialEq, Eq)]
pub enum TakeResult {
    All,
    /// The control plane has to grant these first.
    Missing(Vec<Charge>),
    /// The bucket is exhausted for this long.
    Exhausted(Charge, Duration),
}

/// The state of a bucket, for the client's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitStatus {
    pub limit: u64,
    pub remaining: u64,
    pub reset: Duration,
}

/// A report to the control plane.
#[derive(Debug, Default, PartialEq)]
pub struct Returns {
    pub released: Vec<v1::Released>,
    /// The numbers of requests without an answer.
    pub unanswered: Vec<u64>,
}

#[derive(Default)]
pub struct Leases {
    pub acquaintance: Acquaintance,
    leases: HashMap<Bucket, Lease>,
    /// The number of VMs that share the limits.
    vms: u32,
}

vm_local! {
    static LEASES: RefCell<Leases> = RefCell::default();
}

/// Runs `work` with the leases of this VM.
pub fn with<T>(work: impl FnOnce(&mut Leases) -> T) -> T {
    LEASES.with_borrow_mut(work)
}

impl Leases {
    /// Takes all charges of a request, or none.
    pub fn take(&mut self, charges: &[Charge], now: Instant) -> TakeResult {
        let mut missing = Vec::new();
        for charge in charges {
            let lease = self.lease(&charge.bucket, now);
            lease.turn(charge.bucket.kind(), now);
            let units = signed(charge.units);
            if lease.left >= units {
                continue;
            }
            if now < lease.denied_until && lease.remaining < charge.units {
                return TakeResult::Exhausted(
                    charge.clone(),
                    lease.ends.saturating_duration_since(now),
                );
            }
            missing.push(Charge {
                units: unsigned(units.saturating_sub(lease.left)),
                ..charge.clone()
            });
        }
        if !missing.is_empty() {
            return TakeResult::Missing(missing);
        }
        for charge in charges {
            let lease = self.lease(&charge.bucket, now);
            lease.left = lease.left.saturating_sub(signed(charge.units));
            lease.in_use = lease.in_use.saturating_add(charge.units);
        }
        TakeResult::All
    }

    /// Adds the units that the control plane granted.
    pub fn grant(&mut self, asked: &[Charge], answer: &v1::AcquireResponse, now: Instant) {
        for (charge, grant) in asked.iter().zip(&answer.grants) {
            let lease = self.lease(&charge.bucket, now);
            lease.turn(charge.bucket.kind(), now);
            lease.alone_since = None;
            lease.left = lease.left.saturating_add(signed(grant.units));
            let held = lease.held(charge.bucket.kind(), now);
            lease.held = held.saturating_add(grant.units);
            lease.held_until = now + Duration::from_millis(grant.reset_ms);
            lease.remaining = grant.remaining;
            if charge.bucket.kind().window.is_some() {
                lease.ends = now + Duration::from_millis(grant.reset_ms);
                lease.denied_until = match grant.units {
                    0 if charge.bucket.kind().measure.is_estimated() => now + DENIAL_HOLDS,
                    0 => lease.ends,
                    _ => now,
                };
            }
        }
    }

    /// Grants this VM's share of each limit, because the control plane doesn't answer. `siblings`
    /// is the number of VMs in this Envoy; the control plane may not have reported all yet.
    pub fn grant_alone(&mut self, asked: &[Charge], siblings: u32, now: Instant) {
        let vms = u64::from(self.vms.max(siblings).max(1));
        for charge in asked {
            let share = (charge.limit / vms).max(1);
            let lease = self.lease(&charge.bucket, now);
            let Some(window) = charge.bucket.kind().window else {
                let free = share.saturating_sub(lease.in_use);
                let more = free.saturating_sub(unsigned(lease.left));
                lease.own_slots = lease.own_slots.saturating_add(more);
                lease.left = signed(free);
                continue;
            };
            let alone_since = lease.alone_since;
            if alone_since.is_some_and(|since| now < since + window.length) {
                lease.denied_until = lease.ends;
                lease.remaining = 0;
                continue;
            }
            lease.alone_since = Some(now);
            lease.left = lease.left.min(0).saturating_add(signed(share));
            lease.remaining = 0;
            lease.ends = now + window.length;
        }
    }

    /// Settles a charge of a request that came at `since` and has ended: replaces the estimate by
    /// the actual units, or frees the slot.
    pub fn settle(&mut self, charge: &Charge, actual: u64, since: Instant, now: Instant) {
        let lease = self.lease(&charge.bucket, now);
        let Some(window) = charge.bucket.kind().window else {
            lease.in_use = lease.in_use.saturating_sub(charge.units);
            lease.left = lease.left.saturating_add(signed(charge.units));
            return;
        };
        let too_much = signed(charge.units).saturating_sub(signed(actual));
        let is_of_this_window = lease.ends > now && since + window.length >= lease.ends;
        if is_of_this_window {
            lease.left = lease.left.saturating_add(too_much);
        } else {
            // Nothing is returned of a window that is over: the next one has granted its own. Usage
            // beyond the estimate still counts.
            lease.left = lease.left.saturating_add(too_much.min(0));
        }
    }

    /// Returns the introduction for the next poll; `None` if the control plane knows this VM.
    pub fn introduction(&mut self, now: Instant) -> Option<v1::Introduction> {
        if self.acquaintance.is_known() {
            return None;
        }
        let (number, again) = self.acquaintance.introduce();
        let mut held = Vec::new();
        for (bucket, lease) in &mut self.leases {
            lease.released = 0;
            lease.acknowledged = 0;
            let units = lease.held(bucket.kind(), now);
            if units > 0 {
                held.push(v1::Held {
                    bucket: Some(bucket.into()),
                    units,
                });
            }
        }
        Some(v1::Introduction {
            number,
            held,
            again,
        })
    }

    /// Records whether the control plane asks for an introduction.
    pub fn on_contact(&mut self, is_asked: bool, now: Instant) {
        if self.acquaintance.on_contact(is_asked) {
            for (bucket, lease) in &mut self.leases {
                lease.end_own_share(bucket.kind(), now);
            }
        }
    }

    /// Takes unused slots and estimated units out of the leases, to return them to the control
    /// plane. Returns all that it has not acknowledged; `None` if that is nothing.
    pub fn give_back(&mut self, now: Instant) -> Option<Returns> {
        if !self.acquaintance.is_known() {
            return None;
        }
        let mut released = Vec::new();
        for (bucket, lease) in &mut self.leases {
            let kind = bucket.kind();
            let is_returned = match kind.window {
                None => true,
                Some(_) => kind.measure.is_estimated() && lease.ends > now + LATE,
            };
            if is_returned && lease.left > 0 && lease.alone_since.is_none() {
                let left = unsigned(lease.left);
                let own = left.min(lease.own_slots);
                lease.own_slots -= own;
                lease.left = 0;
                if left > own {
                    lease.released = lease.released.saturating_add(left - own);
                    lease.held = lease.held.saturating_sub(left - own);
                }
            }
            if lease.released > lease.acknowledged {
                released.push(v1::Released {
                    bucket: Some(bucket.into()),
                    units: lease.released,
                });
            }
        }
        let returns = Returns {
            released,
            unanswered: self.acquaintance.unanswered().to_vec(),
        };
        (returns != Returns::default()).then_some(returns)
    }

    /// Records that the control plane has received a report.
    pub fn acknowledge(&mut self, returns: &Returns) {
        self.acquaintance.acknowledge(&returns.unanswered);
        for (bucket, lease) in &mut self.leases {
            let bucket = v1::Bucket::from(bucket);
            let mut reports = returns.released.iter();
            if let Some(report) = reports.find(|report| report.bucket.as_ref() == Some(&bucket)) {
                lease.acknowledged = lease.acknowledged.max(report.units);
            }
        }
    }

    /// Sets the number of VMs that share the limits.
    pub fn share_with(&mut self, vms: u32) {
        self.vms = vms;
    }

    /// Returns the state of a bucket.
    pub fn standing(&self, charge: &Charge, now: Instant) -> Option<LimitStatus> {
        let lease = self.leases.get(&charge.bucket)?;
        Some(LimitStatus {
            limit: charge.limit,
            remaining: lease
                .remaining
                .saturating_add(unsigned(lease.left))
                .min(charge.limit),
            reset: lease.ends.saturating_duration_since(now),
        })
    }

    pub fn forget_old(&mut self, now: Instant) {
        if self.leases.len() > MANY {
            self.leases
                .retain(|bucket, lease| match bucket.kind().window {
                    None => lease.in_use > 0 || lease.held > 0 || lease.released > 0,
                    Some(_) => lease.ends > now || lease.released > 0,
                });
        }
    }

    fn lease(&mut self, bucket: &Bucket, now: Instant) -> &mut Lease {
        self.leases
            .entry(bucket.clone())
            .or_insert_with(|| Lease::new(now))
    }
}

fn signed(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

fn unsigned(units: i64) -> u64 {
    u64::try_from(units).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use opentracy_proto::v1::{Owner, Unit};

    use super::*;

    /// Returns the leases of a VM that the control plane knows.
    fn known() -> Leases {
        let (mut leases, now) = (Leases::default(), Instant::now());
        leases.introduction(now).unwrap();
        leases.on_contact(false, now);
        leases
    }

    fn charge(unit: Unit, units: u64) -> Charge {
        Charge {
            bucket: Bucket {
                owner: Owner::Key,
                name: "a".to_owned(),
                unit,
            },
            units,
            limit: 100,
        }
    }

    fn answer(units: u64, remaining: u64) -> v1::AcquireResponse {
        v1::AcquireResponse {
            grants: vec![v1::Grant {
                units,
                limit: 100,
                remaining,
                reset_ms: 10_000,
            }],
            ..v1::AcquireResponse::default()
        }
    }

    #[test]
    fn a_minute_gets_nothing_back_of_the_one_before() {
        let (mut leases, start) = (known(), Instant::now());
        let estimate = [charge(Unit::Tokens, 50)];
        leases.grant(&estimate, &answer(50, 50), start);
        assert_eq!(leases.take(&estimate, start), TakeResult::All);
        let later = start + Duration::from_secs(70);
        let mut next_minute = answer(2, 98);
        next_minute.grants[0].reset_ms = 50_000;
        leases.grant(&estimate, &next_minute, later);
        leases.settle(&estimate[0], 0, start, later);
        assert_eq!(leases.standing(&estimate[0], later).unwrap().remaining, 100);
        assert!(matches!(
            leases.take(&estimate, later),
            TakeResult::Missing(_)
        ));
    }

    #[test]
    fn a_piece_is_used_up_before_another_is_asked_for() {
        let (mut leases, now) = (known(), Instant::now());
        let one = [charge(Unit::Requests, 1)];
        assert_eq!(leases.take(&one, now), TakeResult::Missing(one.to_vec()));
        leases.grant(&one, &answer(2, 98), now);
        assert_eq!(leases.take(&one, now), TakeResult::All);
        assert_eq!(leases.standing(&one[0], now).unwrap().remaining, 99);
        assert_eq!(leases.take(&one, now), TakeResult::All);
        assert!(matches!(leases.take(&one, now), TakeResult::Missing(_)));
        leases.grant(&one, &answer(0, 0), now);
        assert!(matches!(leases.take(&one, now), TakeResult::Exhausted(..)));
        let later = now + Duration::from_secs(11);
        assert!(
            matches!(leases.take(&one, later), TakeResult::Missing(_)),
            "a new minute"
        );
    }

    #[test]
    fn a_denial_of_tokens_holds_only_until_other_vms_may_have_returned_some() {
        let (mut leases, now) = (known(), Instant::now());
        let estimate = [charge(Unit::Tokens, 10)];
        leases.grant(&estimate, &answer(0, 5), now);
        let denied = TakeResult::Exhausted(estimate[0].clone(), Duration::from_secs(10));
        assert_eq!(leases.take(&estimate, now), denied);
        assert_eq!(
            leases.take(&estimate, now + DENIAL_HOLDS),
            TakeResult::Missing(estimate.to_vec())
        );
    }

    #[test]
    fn what_was_taken_beyond_an_estimate_is_owed() {
        let (mut leases, now) = (known(), Instant::now());
        let estimate = [charge(Unit::Tokens, 10)];
        leases.grant(&estimate, &answer(10, 90), now);
        assert_eq!(leases.take(&estimate, now), TakeResult::All);
        leases.settle(&estimate[0], 25, now, now);
        assert_eq!(
            leases.take(&estimate, now),
            TakeResult::Missing(vec![charge(Unit::Tokens, 25)])
        );
        leases.grant(&estimate, &answer(25, 65), now);
        assert_eq!(leases.take(&estimate, now), TakeResult::All);
        leases.settle(&estimate[0], 0, now, now);
        assert_eq!(
            leases.take(&estimate, now),
            TakeResult::All,
            "it was given back"
        );
        leases.settle(&estimate[0], 0, now, now);
        assert_eq!(leases.give_back(now).unwrap().released[0].units, 10);
    }

    #[test]
    fn a_slot_is_free_again_when_its_request_is_over() {
        let (mut leases, now) = (known(), Instant::now());
        let slot = [charge(Unit::Concurrent, 1)];
        leases.grant(&slot, &answer(1, 0), now);
        assert_eq!(leases.take(&slot, now), TakeResult::All);
        assert_eq!(leases.give_back(now), None, "it is in use");
        leases.settle(&slot[0], 1, now, now);
        let returns = leases.give_back(now).unwrap();
        assert_eq!(returns.released[0].units, 1);
        assert_eq!(leases.give_back(now).unwrap(), returns, "until it is known");
        leases.acknowledge(&returns);
        assert_eq!(leases.give_back(now), None);
        assert!(matches!(leases.take(&slot, now), TakeResult::Missing(_)));
    }

    #[test]
    fn alone_a_vm_keeps_to_its_share() {
        let (mut leases, now) = (known(), Instant::now());
        let one = [charge(Unit::Requests, 1)];
        leases.share_with(2);
        leases.grant(&one, &answer(1, 99), now);
        let later = now + Duration::from_secs(20);
        let mut passed = 0;
        for _ in 0..200 {
            match leases.take(&one, later) {
                TakeResult::All => passed += 1,
                TakeResult::Missing(missing) => leases.grant_alone(&missing, 1, later),
                TakeResult::Exhausted(..) => break,
            }
        }
        assert_eq!(passed, 50, "half of a hundred, for two VMs");
        let slots = [charge(Unit::Concurrent, 1)];
        leases.grant_alone(&slots, 1, later);
        assert_eq!(leases.take(&slots, later), TakeResult::All);
    }
}
