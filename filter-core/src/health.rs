//! The health of models: circuit breakers, and the latency to the beginning of an answer.
//!
//! All VMs of an Envoy share this state in Envoy's shared data, so one worker's failures protect
//! the requests of the others.

use std::cell::RefCell;
use std::collections::BTreeMap;

use opentracy_proto::v1;
use opentracy_proto::v1::{CircuitBreakerPolicy, CircuitBreakerState};
use serde::{Deserialize, Serialize};

use crate::events;
use crate::host::Host;
use crate::shared_data;
use crate::snapshot;
use opentracy_translate::attempt_error::AttemptError;

/// The time after which a half-open probe that has no result is repeated.
const PROBE_MS: u64 = 10_000;
/// The reciprocal of a new sample's weight in the moving average (EWMA).
const SMOOTHING: u64 = 8;
/// The maximum number of models with statistics. A client can name any model, so the least recently
/// used are evicted, and models of the configuration last.
const MAX_MODELS: usize = 500;

/// The state of a model's circuit breaker, and its latency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    window_since_ms: u64,
    calls: u32,
    failures: u32,
    consecutive: u32,
    /// The end of the open state; 0 if the breaker is closed.
    open_until_ms: u64,
    open_for_ms: u32,
    opened: u64,
    /// The deadline for the half-open probe's result.
    probe_until_ms: u64,
    /// The end of the pause that the provider asked for with `retry-after`.
    rest_until_ms: u64,
    latency_us: u64,
}

/// The result of a call to a model.
#[derive(Debug, Clone, Copy)]
struct Report {
    is_failure: bool,
    /// The time to the beginning of the answer.
    latency_micros: Option<u64>,
    /// Seconds to wait, if the provider named them.
    retry_after: Option<u64>,
}

impl Health {
    pub fn state(&self, now_ms: u64) -> CircuitBreakerState {
        match self.open_until_ms {
            0 => CircuitBreakerState::Closed,
            until if now_ms < until => CircuitBreakerState::Open,
            _ => CircuitBreakerState::HalfOpen,
        }
    }

    /// Returns whether a call may be made now.
    pub fn may_be_called(&self, now_ms: u64) -> bool {
        match self.state(now_ms) {
            CircuitBreakerState::Closed => true,
            CircuitBreakerState::HalfOpen => self.probe_until_ms <= now_ms,
            CircuitBreakerState::Open => false,
        }
    }

    /// Returns whether the pause that the provider asked for lasts.
    pub fn is_resting(&self, now_ms: u64) -> bool {
        now_ms < self.rest_until_ms
    }

    /// Returns the seconds until the model may be called.
    pub fn wait_seconds(&self, now_ms: u64) -> u64 {
        let until = self.open_until_ms.max(self.probe_until_ms);
        until.saturating_sub(now_ms).div_ceil(1000).max(1)
    }

    /// Returns the moving average (EWMA); 0 before the first sample.
    pub fn latency_us(&self) -> u64 {
        self.latency_us
    }

    fn report(&mut self, report: &Report, policy: &CircuitBreakerPolicy, now_ms: u64) {
        if let Some(micros) = report.latency_micros.filter(|_| !report.is_failure) {
            self.latency_us = match self.latency_us {
                0 => micros,
                average => (average * (SMOOTHING - 1) + micros) / SMOOTHING,
            };
        }
        if policy.off {
            return;
        }
        if let Some(seconds) = report.retry_after.filter(|_| report.is_failure) {
            let longest = u64::from(policy.max_open_for_ms);
            let wait = seconds.saturating_mul(1000).min(longest);
            self.rest_until_ms = now_ms.saturating_add(wait);
        }
        match self.state(now_ms) {
            CircuitBreakerState::HalfOpen if report.is_failure => {
                let longer = self.open_for_ms.saturating_mul(2);
                self.open(longer.min(policy.max_open_for_ms), now_ms);
            }
            CircuitBreakerState::HalfOpen => {
                *self = Self {
                    opened: self.opened,
                    latency_us: self.latency_us,
                    window_since_ms: now_ms,
                    calls: 1,
                    ..Self::default()
                };
            }
            // Calls that were in flight when the breaker opened don't count.
            CircuitBreakerState::Open => {}
            CircuitBreakerState::Closed => {
                if now_ms.saturating_sub(self.window_since_ms) >= u64::from(policy.window_ms) {
                    (self.window_since_ms, self.calls, self.failures) = (now_ms, 0, 0);
                }
                self.calls = self.calls.saturating_add(1);
                if !report.is_failure {
                    self.consecutive = 0;
                    return;
                }
                self.failures = self.failures.saturating_add(1);
                self.consecutive = self.consecutive.saturating_add(1);
                let share = f64::from(self.failures) / f64::from(self.calls);
                let too_many = self.calls >= policy.minimum_calls && share >= policy.error_rate;
                if too_many || self.consecutive >= policy.consecutive_failures {
                    self.open(policy.open_for_ms, now_ms);
                }
            }
        }
    }

    /// Returns `true` if the breaker has opened since, `false` if it has closed, `None` if neither.
    fn transition_since(&self, before: &Self) -> Option<bool> {
        if self.opened > before.opened {
            return Some(true);
        }
        (before.open_until_ms != 0 && self.open_until_ms == 0).then_some(false)
    }

    fn open(&mut self, for_ms: u32, now_ms: u64) {
        self.open_for_ms = for_ms;
        self.open_until_ms = now_ms.saturating_add(u64::from(for_ms)).max(1);
        self.opened = self.opened.saturating_add(1);
        self.probe_until_ms = 0;
    }
}

thread_local! {
    static MET: RefCell<Models> = const { RefCell::new(Models { last_used: BTreeMap::new(), uses: 0 }) };
}

/// The models that this VM has called.
struct Models {
    /// By `provider/model`: whether the configuration names it, and the number of its last use.
    last_used: BTreeMap<String, (bool, u64)>,
    uses: u64,
}

impl Models {
    /// Records a use of a model and returns the model that was evicted for it.
    fn touch(&mut self, model: &str, is_known: bool) -> Option<String> {
        self.uses = self.uses.saturating_add(1);
        let last_use = (is_known, self.uses);
        if let Some(last_used) = self.last_used.get_mut(model) {
            *last_used = last_use;
            return None;
        }
        let evicted = if self.last_used.len() < MAX_MODELS {
            None
        } else {
            let models = self.last_used.iter();
            let first = models.min_by_key(|(_, last_use)| **last_use);
            first.map(|(model, _)| model.clone())
        };
        if let Some(evicted) = &evicted {
            self.last_used.remove(evicted);
        }
        self.last_used.insert(model.to_owned(), last_use);
        evicted
    }
}

/// Returns whether the configuration names a model.
fn is_known(model: &str) -> bool {
    snapshot::current().is_some_and(|snapshot| snapshot.knows(model))
}

/// Returns the health of a model, `provider/model`.
pub fn of(host: &impl Host, model: &str) -> Health {
    shared_data::read(host, &key(model))
}

/// Claims the half-open probe if the breaker is half-open. Returns `false` if the model may not be
/// called or another request holds the probe.
pub fn take_turn(host: &impl Host, model: &str) -> bool {
    let now_ms = host.unix_millis();
    let mut has_turn = false;
    shared_data::change(host, &key(model), |health: &mut Health| {
        has_turn = health.may_be_called(now_ms);
        if has_turn && health.state(now_ms) == CircuitBreakerState::HalfOpen {
            health.probe_until_ms = now_ms.saturating_add(PROBE_MS);
            return true;
        }
        false
    });
    has_turn
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
    if error.is_none() || is_failure {
        let how = Report {
            is_failure,
            latency_micros,
            retry_after,
        };
        report(host, model, &how, policy);
    }
}

fn report(host: &impl Host, model: &str, report: &Report, policy: &CircuitBreakerPolicy) {
    if let Some(evicted) = MET.with_borrow_mut(|met| met.touch(model, is_known(model))) {
        host.set_shared_data(&key(&evicted), None, None);
    }
    let now_ms = host.unix_millis();
    let mut has_opened = None;
    shared_data::change(host, &key(model), |health: &mut Health| {
        let before = *health;
        health.report(report, policy, now_ms);
        has_opened = health.transition_since(&before);
        true
    });
    if let Some(has_opened) = has_opened {
        events::on_circuit(host, model, has_opened);
    }
}

/// Returns the circuit breakers of the models that this VM has called.
pub fn circuit_breakers(host: &impl Host) -> Vec<v1::CircuitBreaker> {
    let now_ms = host.unix_millis();
    MET.with_borrow(|met| {
        let breakers = met.last_used.keys().map(|model| {
            let health = of(host, model);
            v1::CircuitBreaker {
                model: model.clone(),
                state: health.state(now_ms).into(),
                opened: health.opened,
                open_for_ms: health.open_until_ms.saturating_sub(now_ms),
            }
        });
        breakers.collect()
    })
}

fn key(model: &str) -> String {
    format!("health/{model}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> CircuitBreakerPolicy {
        CircuitBreakerPolicy {
            off: false,
            consecutive_failures: 3,
            error_rate: 0.5,
            minimum_calls: 10,
            window_ms: 1000,
            open_for_ms: 100,
            max_open_for_ms: 300,
        }
    }

    fn told(health: &mut Health, failures: &[bool], now_ms: u64) -> CircuitBreakerState {
        for &is_failure in failures {
            let report = Report {
                is_failure,
                latency_micros: Some(100),
                retry_after: None,
            };
            health.report(&report, &policy(), now_ms);
        }
        health.state(now_ms)
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_closes_it() {
        use CircuitBreakerState::{Closed, HalfOpen, Open};
        let mut health = Health::default();
        assert_eq!(
            told(&mut health, &[true, true, false, true, true], 1),
            Closed
        );
        let before = health;
        assert_eq!(told(&mut health, &[true], 1), Open);
        assert_eq!(health.transition_since(&before), Some(true));
        let opened = health;
        told(&mut health, &[true], 2);
        assert_eq!(health.transition_since(&opened), None, "it was open");
        assert!(!health.may_be_called(100));
        assert_eq!(health.state(101), HalfOpen);
        assert!(health.may_be_called(101));
        assert_eq!(told(&mut health, &[true], 101), Open);
        assert_eq!(health.state(300), Open, "twice as long the second time");
        assert_eq!(told(&mut health, &[true], 301), Open);
        assert_eq!(
            health.state(601),
            HalfOpen,
            "and never longer than the longest"
        );
        let half_open = health;
        assert_eq!(told(&mut health, &[false], 601), Closed);
        assert_eq!(health.transition_since(&half_open), Some(false));
        assert_eq!(health.opened, 3);
    }

    #[test]
    fn a_share_of_failures_opens_it_once_there_are_calls_enough() {
        let mut health = Health::default();
        let alternating = [true, false].repeat(4);
        assert_eq!(
            told(&mut health, &alternating, 1),
            CircuitBreakerState::Closed
        );
        assert_eq!(
            told(&mut health, &[false, true], 2),
            CircuitBreakerState::Open
        );
        let mut health = Health::default();
        told(&mut health, &alternating, 1);
        assert_eq!(
            told(&mut health, &[false, true], 1002),
            CircuitBreakerState::Closed,
            "a new window"
        );
    }

    #[test]
    fn a_provider_that_asks_for_patience_gets_it() {
        let mut health = Health::default();
        let report = Report {
            is_failure: true,
            latency_micros: None,
            retry_after: Some(60),
        };
        health.report(&report, &policy(), 1000);
        assert!(health.is_resting(1299) && !health.is_resting(1300));
    }

    #[test]
    fn made_up_names_evict_each_other_before_models_of_the_configuration() {
        let mut models = Models {
            last_used: BTreeMap::new(),
            uses: 0,
        };
        assert_eq!(models.touch("openai/gpt-5", true), None);
        for number in 1..MAX_MODELS {
            assert_eq!(models.touch(&format!("x/{number}"), false), None);
        }
        models.touch("x/1", false);
        let mut evicted = Vec::new();
        for number in 0..1000 {
            evicted.extend(models.touch(&format!("y/{number}"), false));
        }
        assert_eq!(models.last_used.len(), MAX_MODELS);
        assert_eq!(evicted.len(), 1000);
        assert_eq!(evicted.first().map(String::as_str), Some("x/2"));
        assert!(models.last_used.contains_key("openai/gpt-5"));
    }

    #[test]
    fn latency_is_a_moving_average_of_what_went_well() {
        let mut health = Health::default();
        told(&mut health, &[false; 4], 1);
        assert_eq!(health.latency_us(), 100);
        let slow = Report {
            is_failure: false,
            latency_micros: Some(900),
            retry_after: None,
        };
        health.report(&slow, &policy(), 2);
        assert_eq!(health.latency_us(), 200);
    }
}
