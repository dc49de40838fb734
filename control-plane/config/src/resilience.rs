//! Circuit breakers and response caching of an alias.

use std::time::Duration;

use serde::Deserialize;

/// Thresholds at which the circuit breaker of a model opens, and the time until it half-opens.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CircuitBreaker {
    pub enabled: bool,
    /// Number of consecutive failures that opens it.
    pub consecutive_failures: u32,
    /// Error rate that opens it, from 0 to 1.
    pub error_rate: f64,
    /// Number of calls below which the error rate isn't evaluated.
    pub minimum_calls: u32,
    /// Window of the error rate.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// Initial time for which it stays open; doubles each time a probe fails.
    #[serde(with = "humantime_serde")]
    pub open_for: Duration,
    #[serde(with = "humantime_serde")]
    pub max_open_for: Duration,
}

/// Cached responses, which are reused for the same request of the same key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResponseCache {
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            enabled: true,
            consecutive_failures: 5,
            error_rate: 0.5,
            minimum_calls: 20,
            window: Duration::from_secs(30),
            open_for: Duration::from_secs(5),
            max_open_for: Duration::from_secs(60),
        }
    }
}
