//! Every kind of limit, by its row in the table.

use std::thread;
use std::time::Duration;

use opentracy_proto::limit_kinds::LimitKind;
use opentracy_proto::v1::Owner;

use crate::fake_envoy::Vm;
use crate::tests::limits::world::{
    acquisitions, ask, grant_until, is_sent, is_waiting, limited, wanted,
};
use crate::tests::world::error;

/// Runs a check of every kind, each in a VM of its own.
fn each_kind(check: fn(&'static LimitKind)) {
    for kind in LimitKind::all() {
        let checked = thread::spawn(move || check(kind)).join();
        checked.unwrap_or_else(|_| panic!("a limit of {}", kind.noun()));
    }
}

/// Returns the units that a request is charged.
fn units_of_a_request(kind: &'static LimitKind) -> u64 {
    let charged = thread::spawn(|| {
        let mut vm = Vm::gateway_with(limited(kind.only(1000)));
        assert!(is_waiting(&mut ask(&mut vm)));
        wanted(&vm).remove(0).3
    });
    charged.join().expect("a gateway stage")
}

#[test]
fn a_request_is_charged_against_its_limit_and_refused_beyond_it() {
    each_kind(|kind| {
        let mut vm = Vm::gateway_with(limited(kind.only(1000)));
        let mut first = ask(&mut vm);
        let (owner, name, unit, units) = wanted(&vm).remove(0);
        assert_eq!((owner, name.as_str()), (Owner::Key, "team"));
        assert_eq!(unit, kind.unit);
        grant_until(&mut vm, &mut first, units, 30_000);
        assert!(is_sent(&mut first));
        let mut second = ask(&mut vm);
        grant_until(&mut vm, &mut second, 0, 30_000);
        let got = second.client();
        assert_eq!(error(got), (429, kind.error_code.to_owned()));
        let wait = if kind.window.is_some() { "31" } else { "1" };
        assert_eq!(got.header("retry-after"), wait);
        let message = format!(
            "key \\\"team\\\" has reached its limit of 1000 {}",
            kind.noun()
        );
        assert!(got.text().contains(&message), "{}", got.text());
        if let Some(names) = &kind.headers {
            assert_eq!(got.header(names.limit), "1000");
            assert_eq!(got.header(names.remaining), "0");
            assert_eq!(got.header(names.reset), "30000ms");
        }
        vm.tick(Duration::from_secs(30));
        assert!(is_waiting(&mut ask(&mut vm)), "again, in the next window");
    });
}

#[test]
fn a_request_over_the_whole_limit_is_refused_without_the_control_plane() {
    each_kind(|kind| {
        let mut vm = Vm::gateway_with(limited(kind.only(0)));
        let mut exchange = ask(&mut vm);
        assert_eq!(error(exchange.client()), (429, kind.error_code.to_owned()));
        assert!(acquisitions(&vm).is_empty());
    });
}

#[test]
fn without_the_control_plane_a_share_lasts_for_a_window() {
    each_kind(|kind| {
        let Some(window) = kind.window else { return };
        let mut vm = Vm::gateway_with(limited(kind.only(units_of_a_request(kind))));
        vm.envoy.refuse_calls(true);
        assert!(is_sent(&mut ask(&mut vm)));
        vm.envoy.advance(window.length - Duration::from_secs(1));
        assert_eq!(ask(&mut vm).client().status(), 429, "of the same window");
        vm.envoy.advance(Duration::from_secs(1));
        assert!(is_sent(&mut ask(&mut vm)), "a new share");
    });
}
