//! What this VM was granted of limits, and gives to its requests.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use opentracy_proto::v1;
use opentracy_proto::v1::{Owner, Unit};

const MINUTE: Duration = Duration::from_secs(60);
/// Of a limit, what a VM may keep for a while that it does not need: one part in this many.
const LEFT_OVER: u64 = 50;
/// So late in a minute nothing of it is given back.
const LATE: Duration = Duration::from_secs(1);
/// Leases that are remembered before those are looked for that nobody uses.
const MANY: usize = 5000;

/// What is limited.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bucket {
    pub owner: Owner,
    pub name: String,
    pub unit: Unit,
}

/// What a request takes of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    pub bucket: Bucket,
    pub units: u64,
    /// As the configuration has it.
    pub limit: u64,
}

/// Whether a request has what it takes.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    All,
    /// The control plane has to be asked for these.
    Missing(Vec<Charge>),
    /// This is used up, for so long.
    Exhausted(Charge, Duration),
}

/// How a bucket stands, for the client's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub limit: u64,
    pub remaining: u64,
    pub reset: Duration,
}

#[derive(Debug)]
struct Lease {
    /// Less than nothing where requests took more than they had said.
    left: i64,
    /// What others have, as far as it is known.
    remaining: u64,
    ends: Instant,
    is_exhausted: bool,
    /// What was given back, since the VM was started.
    released: u64,
    in_use: u64,
    is_release_told: bool,
    /// Without the control plane: what was let through in this minute.
    alone_since: Option<Instant>,
}

impl Lease {
    fn new(now: Instant) -> Self {
        Self {
            left: 0,
            remaining: 0,
            ends: now,
            is_exhausted: false,
            released: 0,
            in_use: 0,
            is_release_told: true,
            alone_since: None,
        }
    }

    /// With the minute its grants are over. What was taken beyond them is not forgotten.
    fn turn(&mut self, unit: Unit, now: Instant) {
        if unit != Unit::Concurrent && self.ends <= now {
            self.left = self.left.min(0);
            self.is_exhausted = false;
        }
    }
}

#[derive(Default)]
pub struct Leases {
    leases: HashMap<Bucket, Lease>,
    /// How many VMs share the limits.
    vms: u32,
}

thread_local! {
    static LEASES: RefCell<Leases> = RefCell::default();
}

/// The leases of this VM.
pub fn with<T>(work: impl FnOnce(&mut Leases) -> T) -> T {
    LEASES.with_borrow_mut(work)
}

impl Leases {
    /// Takes all that a request needs, or nothing.
    pub fn take(&mut self, charges: &[Charge], now: Instant) -> Taken {
        let mut missing = Vec::new();
        for charge in charges {
            let lease = self.lease(&charge.bucket, now);
            lease.turn(charge.bucket.unit, now);
            let units = signed(charge.units);
            if lease.left >= units {
                continue;
            }
            if lease.is_exhausted && lease.remaining < charge.units {
                return Taken::Exhausted(charge.clone(), lease.ends.saturating_duration_since(now));
            }
            missing.push(Charge {
                units: unsigned(units.saturating_sub(lease.left)),
                ..charge.clone()
            });
        }
        if !missing.is_empty() {
            return Taken::Missing(missing);
        }
        for charge in charges {
            let lease = self.lease(&charge.bucket, now);
            lease.left = lease.left.saturating_sub(signed(charge.units));
            lease.in_use = lease.in_use.saturating_add(charge.units);
        }
        Taken::All
    }

    /// Takes in what the control plane grants.
    pub fn grant(&mut self, asked: &[Charge], answer: &v1::AcquireResponse, now: Instant) {
        for (charge, grant) in asked.iter().zip(&answer.grants) {
            let lease = self.lease(&charge.bucket, now);
            lease.turn(charge.bucket.unit, now);
            lease.alone_since = None;
            lease.left = lease.left.saturating_add(signed(grant.units));
            lease.remaining = grant.remaining;
            if charge.bucket.unit != Unit::Concurrent {
                lease.ends = now + Duration::from_millis(grant.reset_ms);
                lease.is_exhausted = grant.units == 0;
            }
        }
    }

    /// Without the control plane: this VM's share of each limit.
    pub fn grant_alone(&mut self, asked: &[Charge], now: Instant) {
        let vms = u64::from(self.vms.max(1));
        for charge in asked {
            let share = (charge.limit / vms).max(1);
            let lease = self.lease(&charge.bucket, now);
            if charge.bucket.unit == Unit::Concurrent {
                let free = share.saturating_sub(lease.in_use);
                lease.left = signed(free);
                continue;
            }
            if lease.alone_since.is_some_and(|since| now < since + MINUTE) {
                lease.is_exhausted = true;
                lease.remaining = 0;
                continue;
            }
            lease.alone_since = Some(now);
            lease.left = lease.left.min(0).saturating_add(signed(share));
            lease.remaining = 0;
            lease.ends = now + MINUTE;
        }
    }

    /// Puts right what was estimated, now that it is known. Whether so much is left over that others should have it.
    pub fn settle(&mut self, charge: &Charge, actual: u64, now: Instant) -> bool {
        let lease = self.lease(&charge.bucket, now);
        let too_much = signed(charge.units).saturating_sub(signed(actual));
        if lease.ends > now {
            lease.left = lease.left.saturating_add(too_much);
        } else {
            // Of a minute that is over nothing is given back, and what was taken beyond it was not counted.
            lease.left = lease.left.saturating_add(too_much.min(0));
        }
        lease.left > signed(charge.limit / LEFT_OVER)
    }

    /// A request that held a slot is over. Whether so many are free that others should have them.
    pub fn release(&mut self, charge: &Charge, now: Instant) -> bool {
        let lease = self.lease(&charge.bucket, now);
        lease.in_use = lease.in_use.saturating_sub(charge.units);
        lease.left = lease.left.saturating_add(signed(charge.units));
        lease.left > signed(charge.limit / LEFT_OVER)
    }

    /// Slots and tokens that nobody uses go back to the control plane.
    pub fn give_back(&mut self, now: Instant) -> Vec<v1::Released> {
        let mut released = Vec::new();
        for (bucket, lease) in &mut self.leases {
            let is_returned = match bucket.unit {
                Unit::Concurrent => true,
                // Of a minute that is nearly over it would come too late.
                Unit::Tokens => lease.ends > now + LATE,
                Unit::Requests => false,
            };
            if is_returned && lease.left > 0 && lease.alone_since.is_none() {
                lease.released = lease.released.saturating_add(unsigned(lease.left));
                lease.left = 0;
                lease.is_release_told = false;
            }
            if !lease.is_release_told {
                lease.is_release_told = true;
                released.push(v1::Released {
                    bucket: Some(bucket.into()),
                    units: lease.released,
                });
            }
        }
        released
    }

    /// Notes how many VMs there are.
    pub fn share_with(&mut self, vms: u32) {
        self.vms = vms;
    }

    /// How a bucket stands.
    pub fn standing(&self, charge: &Charge, now: Instant) -> Option<Standing> {
        let lease = self.leases.get(&charge.bucket)?;
        Some(Standing {
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
            self.leases.retain(|bucket, lease| match bucket.unit {
                Unit::Concurrent => lease.in_use > 0 || lease.released > 0,
                Unit::Requests | Unit::Tokens => lease.ends > now || lease.released > 0,
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

impl From<&Bucket> for v1::Bucket {
    fn from(bucket: &Bucket) -> Self {
        Self {
            owner: bucket.owner.into(),
            name: bucket.name.clone(),
            unit: bucket.unit.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        }
    }

    #[test]
    fn a_piece_is_used_up_before_another_is_asked_for() {
        let (mut leases, now) = (Leases::default(), Instant::now());
        let one = [charge(Unit::Requests, 1)];
        assert_eq!(leases.take(&one, now), Taken::Missing(one.to_vec()));
        leases.grant(&one, &answer(2, 98), now);
        assert_eq!(leases.take(&one, now), Taken::All);
        assert_eq!(leases.standing(&one[0], now).unwrap().remaining, 99);
        assert_eq!(leases.take(&one, now), Taken::All);
        assert!(matches!(leases.take(&one, now), Taken::Missing(_)));
        leases.grant(&one, &answer(0, 0), now);
        assert!(matches!(leases.take(&one, now), Taken::Exhausted(..)));
        let later = now + Duration::from_secs(11);
        assert!(
            matches!(leases.take(&one, later), Taken::Missing(_)),
            "a new minute"
        );
    }

    #[test]
    fn what_was_taken_beyond_an_estimate_is_owed() {
        let (mut leases, now) = (Leases::default(), Instant::now());
        let estimate = [charge(Unit::Tokens, 10)];
        leases.grant(&estimate, &answer(10, 90), now);
        assert_eq!(leases.take(&estimate, now), Taken::All);
        leases.settle(&estimate[0], 25, now);
        assert_eq!(
            leases.take(&estimate, now),
            Taken::Missing(vec![charge(Unit::Tokens, 25)])
        );
        leases.grant(&estimate, &answer(25, 65), now);
        assert_eq!(leases.take(&estimate, now), Taken::All);
        assert!(leases.settle(&estimate[0], 0, now), "others may want it");
        assert_eq!(leases.take(&estimate, now), Taken::All, "it was given back");
        leases.settle(&estimate[0], 0, now);
        assert_eq!(leases.give_back(now)[0].units, 10);
    }

    #[test]
    fn a_slot_is_free_again_when_its_request_is_over() {
        let (mut leases, now) = (Leases::default(), Instant::now());
        let slot = [charge(Unit::Concurrent, 1)];
        leases.grant(&slot, &answer(1, 0), now);
        assert_eq!(leases.take(&slot, now), Taken::All);
        assert!(leases.give_back(now).is_empty(), "it is in use");
        leases.release(&slot[0], now);
        let released: Vec<u64> = leases
            .give_back(now)
            .iter()
            .map(|each| each.units)
            .collect();
        assert_eq!(released, [1]);
        assert!(leases.give_back(now).is_empty());
        assert!(matches!(leases.take(&slot, now), Taken::Missing(_)));
    }

    #[test]
    fn alone_a_vm_keeps_to_its_share() {
        let (mut leases, now) = (Leases::default(), Instant::now());
        let one = [charge(Unit::Requests, 1)];
        leases.share_with(2);
        leases.grant(&one, &answer(1, 99), now);
        let later = now + Duration::from_secs(20);
        let mut passed = 0;
        for _ in 0..200 {
            match leases.take(&one, later) {
                Taken::All => passed += 1,
                Taken::Missing(missing) => leases.grant_alone(&missing, later),
                Taken::Exhausted(..) => break,
            }
        }
        assert_eq!(passed, 50, "half of a hundred, for two VMs");
        let slots = [charge(Unit::Concurrent, 1)];
        leases.grant_alone(&slots, later);
        assert_eq!(leases.take(&slots, later), Taken::All);
    }
}
