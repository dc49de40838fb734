//! Time, as records want it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment that both a wall clock and a stop-watch have seen.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    wall: SystemTime,
    instant: Instant,
}

impl Moment {
    pub fn now() -> Self {
        Self {
            wall: SystemTime::now(),
            instant: Instant::now(),
        }
    }

    pub fn unix_micros(&self) -> u64 {
        micros(self.wall.duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    pub fn unix_seconds(&self) -> u64 {
        self.unix_micros() / 1_000_000
    }

    pub fn elapsed_micros(&self) -> u64 {
        micros(self.instant.elapsed())
    }
}

pub fn unix_millis() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(elapsed.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

pub fn unix_seconds() -> u64 {
    unix_millis() / 1000
}

/// Microseconds as milliseconds, to the microsecond.
pub fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
