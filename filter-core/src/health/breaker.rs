//! The state of one model: its circuit breaker, and its latency to the beginning of an answer.

use opentracy_proto::v1::{CircuitBreakerPolicy, CircuitBreakerState};
use serde::{Deserialize, Serialize};

/// The reciprocal of a new sample's weight in the moving average (EWMA).
const SMOOTHING: u64 = 8;
/// The time after which a half-open probe that has no result is repeated.
const PROBE_MS: u64 = 10_000;
/// The number of samples after which a moving average is that of the samples.
const MANY_SAMPLES: u32 = 64;

/// The state of a model's circuit breaker, and its latency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelHealth {
    window_since_ms: u64,
    calls: u32,
    failures: u32,
    consecutive: u32,
    /// The end of the open state; 0 if the breaker is closed.
    pub open_until_ms: u64,
    open_for_ms: u32,
    pub opened: u64,
    /// The deadline for the half-open probe's result.
    probe_until_ms: u64,
    /// The end of the pause that the provider asked for with `retry-after`.
    rest_until_ms: u64,
    latency_us: u64,
}

/// The result of a call to a model.
#[derive(Debug, Clone, Copy)]
pub struct CallReport {
    pub is_failure: bool,
    /// The time to the beginning of the answer.
    pub latency_micros: Option<u64>,
    /// Seconds to wait, if the provider named them.
    pub retry_after: Option<u64>,
}

/// Successful calls that are reported together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Successes {
    calls: u32,
    /// The sum of the latencies, and the number of calls that it is of.
    latency: (u64, u32),
}

impl Successes {
    pub fn add(&mut self, latency_micros: Option<u64>) {
        self.calls = self.calls.saturating_add(1);
        if let Some(micros) = latency_micros {
            let (sum, count) = &mut self.latency;
            (*sum, *count) = (sum.saturating_add(micros), count.saturating_add(1));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.calls == 0
    }
}

impl ModelHealth {
    pub fn state(&self, now_ms: u64) -> CircuitBreakerState {
        match self.open_until_ms {
            0 => CircuitBreakerState::Closed,
            until if now_ms < until => CircuitBreakerState::Open,
            _ => CircuitBreakerState::HalfOpen,
        }
    }

    /// Returns whether any call was reported.
    pub fn has_calls(&self) -> bool {
        self.window_since_ms != 0 || self.opened != 0
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

    /// Returns whether the breaker is closed and the last call was no failure, so that nothing
    /// depends on the next success.
    pub fn is_clean(&self) -> bool {
        self.open_until_ms == 0 && self.consecutive == 0
    }

    /// Claims the half-open probe if the breaker is half-open. Returns whether the state changed.
    pub fn claim_probe(&mut self, now_ms: u64) -> bool {
        let is_claimed = self.state(now_ms) == CircuitBreakerState::HalfOpen;
        if is_claimed {
            self.probe_until_ms = now_ms.saturating_add(PROBE_MS);
        }
        is_claimed
    }

    /// Records successful calls of a clean model.
    pub fn report_successes(
        &mut self,
        successes: &Successes,
        policy: &CircuitBreakerPolicy,
        now_ms: u64,
    ) {
        let (sum, count) = successes.latency;
        let mean = sum.checked_div(u64::from(count));
        for _ in 0..count.min(MANY_SAMPLES) {
            self.add_latency(mean);
        }
        if policy.off || successes.is_empty() || self.open_until_ms != 0 {
            // Calls that were in flight when the breaker opened don't count.
            return;
        }
        self.roll_window(policy, now_ms);
        self.calls = self.calls.saturating_add(successes.calls);
        self.consecutive = 0;
    }

    fn add_latency(&mut self, micros: Option<u64>) {
        if let Some(micros) = micros {
            self.latency_us = match self.latency_us {
                0 => micros,
                average => (average * (SMOOTHING - 1) + micros) / SMOOTHING,
            };
        }
    }

    fn roll_window(&mut self, policy: &CircuitBreakerPolicy, now_ms: u64) {
        if now_ms.saturating_sub(self.window_since_ms) >= u64::from(policy.window_ms) {
            (self.window_since_ms, self.calls, self.failures) = (now_ms, 0, 0);
        }
    }

    /// Records the result of a call.
    pub fn report(&mut self, report: &CallReport, policy: &CircuitBreakerPolicy, now_ms: u64) {
        self.add_latency(report.latency_micros.filter(|_| !report.is_failure));
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
                self.roll_window(policy, now_ms);
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
    pub fn transition_since(&self, before: &Self) -> Option<bool> {
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

    fn told(health: &mut ModelHealth, failures: &[bool], now_ms: u64) -> CircuitBreakerState {
        for &is_failure in failures {
            let report = CallReport {
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
        let mut health = ModelHealth::default();
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
        let mut health = ModelHealth::default();
        let alternating = [true, false].repeat(4);
        assert_eq!(
            told(&mut health, &alternating, 1),
            CircuitBreakerState::Closed
        );
        assert_eq!(
            told(&mut health, &[false, true], 2),
            CircuitBreakerState::Open
        );
        let mut health = ModelHealth::default();
        told(&mut health, &alternating, 1);
        assert_eq!(
            told(&mut health, &[false, true], 1002),
            CircuitBreakerState::Closed,
            "a new window"
        );
    }

    #[test]
    fn a_provider_that_asks_for_patience_gets_it() {
        let mut health = ModelHealth::default();
        let report = CallReport {
            is_failure: true,
            latency_micros: None,
            retry_after: Some(60),
        };
        health.report(&report, &policy(), 1000);
        assert!(health.is_resting(1299) && !health.is_resting(1300));
    }

    #[test]
    fn latency_is_a_moving_average_of_what_went_well() {
        let mut health = ModelHealth::default();
        told(&mut health, &[false; 4], 1);
        assert_eq!(health.latency_us(), 100);
        let slow = CallReport {
            is_failure: false,
            latency_micros: Some(900),
            retry_after: None,
        };
        health.report(&slow, &policy(), 2);
        assert_eq!(health.latency_us(), 200);
    }

    #[test]
    fn successes_count_together_as_they_do_one_by_one() {
        let (mut one_by_one, mut together) = (ModelHealth::default(), ModelHealth::default());
        let mut successes = Successes::default();
        for _ in 0..20 {
            told(&mut one_by_one, &[false], 1);
            successes.add(Some(100));
        }
        together.report_successes(&successes, &policy(), 1);
        assert_eq!(one_by_one, together);
        assert!(together.is_clean());
    }
}
