//! Grants of units against limits, over windows, slots and restarts.

use std::collections::HashSet;

use opentracy_config::Config;
use opentracy_proto::limit_kinds::LimitKind;
use opentracy_proto::v1::{self, Owner, Unit};

use crate::limits::LimitLedger;

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
