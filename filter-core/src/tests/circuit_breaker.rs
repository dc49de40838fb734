//! The health of models: circuit breakers, the pauses that providers ask for, and latency.

use std::time::Duration;

use opentracy_proto::v1;

use crate::fake_envoy::{GATEWAY, Upstream, VmThread};
use crate::root::TICK;
use crate::tests::stages::{Stages, clusters, error};
use crate::tests::world::{JSON, alias, chat, completion, snapshot};

/// The time for which a breaker is open at first.
const OPEN_FOR: Duration = Duration::from_secs(10);

fn hi() -> Upstream {
    Upstream::answer(200, &JSON, completion("Hi"))
}

fn failed() -> Upstream {
    Upstream::answer(500, &JSON, error("no"))
}

/// Lets the first candidate fail until its breaker opens.
fn open(stages: &mut Stages) {
    for _ in 0..5 {
        let (requests, _) = stages.call(&chat("chain"), vec![failed(), hi()]);
        assert_eq!(clusters(&requests)[0], "provider_openai");
    }
}

/// Returns the first cluster of a call whose first attempt ends like this.
fn first(stages: &mut Stages, fails: bool) -> String {
    let upstreams = if fails {
        vec![failed(), hi()]
    } else {
        vec![hi()]
    };
    let (requests, got) = stages.call(&chat("chain"), upstreams);
    assert_eq!(got.status(), 200);
    clusters(&requests)[0].to_owned()
}

#[test]
fn a_model_that_keeps_failing_is_tried_last_until_its_pause_is_over() {
    let mut stages = Stages::start(snapshot());
    open(&mut stages);
    assert_eq!(first(&mut stages, false), "provider_second");
    stages.gateway.tick(OPEN_FOR - Duration::from_secs(1));
    assert_eq!(first(&mut stages, false), "provider_second");
    stages.gateway.tick(Duration::from_secs(1));
    assert_eq!(first(&mut stages, false), "provider_openai", "the probe");
    assert_eq!(first(&mut stages, false), "provider_openai", "it is closed");
}

#[test]
fn one_call_at_a_time_probes() {
    let mut stages = Stages::start(snapshot());
    open(&mut stages);
    stages.gateway.tick(OPEN_FOR);
    let mut probe = stages.gateway.post("/v1/chat/completions", &chat("chain"));
    assert!(
        probe
            .upstream()
            .header("x-opentracy-plan")
            .contains(r#"["openai/small","second"#)
    );
    assert_eq!(first(&mut stages, false), "provider_second");
    stages.listener.relay(&mut probe, vec![hi()]);
    probe.end();
    assert_eq!(first(&mut stages, false), "provider_openai");
}

#[test]
fn a_probe_that_fails_doubles_the_pause() {
    let mut stages = Stages::start(snapshot());
    open(&mut stages);
    stages.gateway.tick(OPEN_FOR);
    assert_eq!(first(&mut stages, true), "provider_openai");
    stages.gateway.tick(OPEN_FOR);
    assert_eq!(first(&mut stages, false), "provider_second");
    stages.gateway.tick(OPEN_FOR);
    assert_eq!(first(&mut stages, false), "provider_openai");
}

#[test]
fn a_success_in_between_keeps_the_breaker_closed() {
    let mut stages = Stages::start(snapshot());
    for _ in 0..3 {
        for fails in [true, true, true, true, false] {
            assert_eq!(first(&mut stages, fails), "provider_openai");
        }
    }
    // With 20 calls the rate of errors counts, too.
    for _ in 0..4 {
        assert_eq!(first(&mut stages, true), "provider_openai");
    }
    assert_eq!(first(&mut stages, true), "provider_openai");
    assert_eq!(first(&mut stages, false), "provider_second");
}

#[test]
fn failures_that_are_not_the_models_do_not_open_its_breaker() {
    let mut stages = Stages::start(snapshot());
    for _ in 0..30 {
        let wrong = Upstream::answer(400, &JSON, error("no"));
        stages.call(&chat("chain"), vec![wrong]);
        stages.call(&chat("chain"), vec![Upstream::trap(), hi()]);
    }
    assert_eq!(first(&mut stages, false), "provider_openai");
}

#[test]
fn a_breaker_that_is_off_does_not_open() {
    let mut all = snapshot();
    all.circuit_breaker.as_mut().unwrap().off = true;
    let mut stages = Stages::start(all);
    for _ in 0..30 {
        assert_eq!(first(&mut stages, true), "provider_openai");
    }
}

#[test]
fn a_model_without_another_candidate_is_refused_while_its_breaker_is_open() {
    let mut stages = Stages::start(snapshot());
    open(&mut stages);
    stages.gateway.tick(Duration::from_secs(4));
    let mut call = stages.gateway.post("/v1/chat/completions", &chat("only"));
    let got = call.client();
    assert_eq!(got.status(), 503);
    assert_eq!(got.json()["error"]["code"], "circuit_open");
    assert_eq!(got.header("retry-after"), "6");
    assert!(call.upstream().headers.is_empty());
}

#[test]
fn the_other_workers_of_an_envoy_see_an_open_breaker() {
    let mut stages = Stages::start(snapshot());
    let other = VmThread::start(&stages.gateway.envoy, GATEWAY);
    open(&mut stages);
    let plan = other.run(|vm| {
        let mut call = vm.post("/v1/chat/completions", &chat("chain"));
        call.upstream().header("x-opentracy-plan").to_owned()
    });
    assert!(
        plan.contains(r#"["second/large","openai/small"]"#),
        "{plan}"
    );
}

#[test]
fn the_control_plane_learns_of_an_open_breaker() {
    let mut stages = Stages::start(snapshot());
    open(&mut stages);
    stages.gateway.tick(TICK);
    let asked: v1::GetSnapshotRequest = stages.gateway.asked("GetSnapshot");
    let models: Vec<&str> = asked
        .circuit_breakers
        .iter()
        .map(|breaker| breaker.model.as_str())
        .collect();
    assert_eq!(models, ["openai/small", "second/large"]);
    let breaker = &asked.circuit_breakers[0];
    assert_eq!(breaker.state(), v1::CircuitBreakerState::Open);
    assert_eq!((breaker.opened, breaker.open_for_ms), (1, 9900));
    let other = &asked.circuit_breakers[1];
    assert_eq!(other.state(), v1::CircuitBreakerState::Closed);
}

#[test]
fn a_provider_that_asks_for_a_pause_is_tried_last_until_it_is_over() {
    let mut stages = Stages::start(snapshot());
    let limited = Upstream::answer(429, &[("retry-after", "5")], error("slow down"));
    stages.call(&chat("chain"), vec![limited, hi()]);
    stages.gateway.tick(Duration::from_millis(4900));
    assert_eq!(first(&mut stages, false), "provider_second");
    stages.gateway.tick(Duration::from_millis(100));
    assert_eq!(first(&mut stages, false), "provider_openai");
}

#[test]
fn the_quickest_candidate_is_first_where_latency_decides() {
    let mut all = snapshot();
    all.aliases.push(v1::Alias {
        strategy: v1::Strategy::LowestLatency.into(),
        ..alias("quick", &["openai/small", "second/large"])
    });
    let mut stages = Stages::start(all);
    let mut call = |ms| {
        let answer = hi().after(Duration::from_millis(ms));
        let (requests, _) = stages.call(&chat("quick"), vec![answer]);
        clusters(&requests)[0].to_owned()
    };
    assert_eq!(call(300), "provider_openai");
    assert_eq!(call(200), "provider_second", "it has no measurement yet");
    assert_eq!(call(200), "provider_second");
    // The moving average follows slowly.
    assert_eq!(call(900), "provider_second");
    assert_eq!(call(900), "provider_second");
    assert_eq!(call(100), "provider_openai");
}
