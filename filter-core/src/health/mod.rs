//! The health of models: circuit breakers, and the latency to the beginning of an answer.
//!
//! All VMs of an Envoy share this state in Envoy's shared data, so one worker's failures protect
//! the requests of the others. A failure is written at once. While a model is healthy, a VM works
//! with its own copy: it adds its successes to the shared state, and reads that of the others, on
//! every tick.

mod breaker;
mod models;

use std::cell::RefCell;

use opentracy_proto::v1::{self, CircuitBreakerPolicy};
use opentracy_translate::attempt_error::AttemptError;

use crate::events;
use crate::host::Host;
use crate::shared_data;
use crate::snapshot;
use crate::vm::vm_local;
use breaker::{CallReport, ModelHealth};
use models::{CachedHealth, HealthCache, key};

vm_local! {
    static MODELS: RefCell<HealthCache> = RefCell::default();
}

/// Returns the health of a model, `provider/model`.
pub fn of(host: &impl Host, model: &str) -> ModelHealth {
    with(host, model, |own| own.view)
}

/// Claims the half-open probe if the breaker is half-open. Returns `false` if the model may not be
/// called or another request holds the probe.
pub fn take_turn(host: &impl Host, model: &str) -> bool {
    with(host, model, |own| {
        if own.view.is_clean() {
            return true;
        }
        let now_ms = host.unix_millis();
        let mut has_turn = false;
        own.change(host, model, |health| {
            has_turn = health.may_be_called(now_ms);
            has_turn && health.claim_probe(now_ms)
        });
        has_turn
    })
}

/// Records the result of an attempt at a model; `error` is the failure reason. Failures that aren't
/// the model's don't count.
pub fn tell(
    host: &impl Host,
    model: &str,
    error: Option<AttemptError>,
    latency_micros: Option<u64>,
    retry_after: Option<u64>,
    policy: &CircuitBreakerPolicy,
) {
    let is_failure = error.is_some_and(AttemptError::is_models_fault);
    if error.is_some() && !is_failure {
        return;
    }
    let report = CallReport {
        is_failure,
        latency_micros,
        retry_after,
    };
    let now_ms = host.unix_millis();
    let transition = with(host, model, |own| {
        if !is_failure && own.view.is_clean() {
            own.view.report(&report, policy, now_ms);
            own.unwritten.add(latency_micros);
            return None;
        }
        let unwritten = std::mem::take(&mut own.unwritten);
        let mut transition = None;
        own.change(host, model, |health| {
            health.report_successes(&unwritten, policy, now_ms);
            let before = *health;
            health.report(&report, policy, now_ms);
            transition = health.transition_since(&before);
            true
        });
        transition
    });
    if let Some(has_opened) = transition {
        events::on_circuit(host, model, has_opened);
    }
}

/// Writes the successes of this VM, and reads the state of the models that it calls.
pub fn on_tick(host: &impl Host) {
    let Some(snapshot) = snapshot::current() else {
        return;
    };
    MODELS.with_borrow_mut(|models| {
        for (model, own) in models.in_use() {
            own.exchange(host, model, &snapshot.circuit_breaker);
        }
    });
}

/// Returns the circuit breakers of the models that this VM has called.
pub fn circuit_breakers(host: &impl Host) -> Vec<v1::CircuitBreaker> {
    let now_ms = host.unix_millis();
    let models = MODELS.with_borrow(HealthCache::names);
    let breakers = models.into_iter().filter_map(|model| {
        let health = of(host, &model);
        health.has_calls().then(|| v1::CircuitBreaker {
            state: health.state(now_ms).into(),
            opened: health.opened,
            open_for_ms: health.open_until_ms.saturating_sub(now_ms),
            model,
        })
    });
    breakers.collect()
}

/// Acts on this VM's copy of a model's state. The copy is read again if it is old, and while the
/// model fails.
fn with<R>(host: &impl Host, model: &str, act: impl FnOnce(&mut CachedHealth) -> R) -> R {
    MODELS.with_borrow_mut(|models| {
        let is_known = || snapshot::current().is_some_and(|snapshot| snapshot.knows(model));
        let (result, evicted) = models.touch(model, is_known, |own| {
            if !std::mem::replace(&mut own.is_current, true) || !own.view.is_clean() {
                own.view = shared_data::read(host, &key(model));
            }
            act(own)
        });
        if let Some(evicted) = evicted {
            host.set_shared_data(&key(&evicted), None, None);
        }
        result
    })
}
