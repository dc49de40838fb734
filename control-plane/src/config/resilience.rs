//! What keeps an alias answering: circuit breakers, and answers that are given again.

use std::time::Duration;

use serde::Deserialize;

/// When a model is no longer called, and when it is again.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CircuitBreaker {
    pub enabled: bool,
    /// So many in a row open it.
    pub consecutive_failures: u32,
    /// Such a share opens it, from 0 to 1.
    pub error_rate: f64,
    /// Of at least so many calls.
    pub minimum_calls: u32,
    /// Within so long.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// How long it stays open at first; twice as long each time it fails again.
    #[serde(with = "humantime_serde")]
    pub open_for: Duration,
    #[serde(with = "humantime_serde")]
    pub max_open_for: Duration,
}

/// Answers that are given again to the same request of the same key.
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
