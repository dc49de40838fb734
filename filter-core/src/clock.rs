//! Clocks and time formats for records.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::host::Host;

/// A point in time on both the wall clock and the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    wall: SystemTime,
    instant: Instant,
}

impl Moment {
    pub fn now(host: &impl Host) -> Self {
        Self {
            wall: host.wall_clock(),
            instant: host.now(),
        }
    }

    pub fn instant(&self) -> Instant {
        self.instant
    }

    pub fn unix_micros(&self) -> u64 {
        micros(self.wall.duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    pub fn unix_seconds(&self) -> u64 {
        self.unix_micros() / 1_000_000
    }

    pub fn elapsed(&self, host: &impl Host) -> Duration {
        host.now().duration_since(self.instant)
    }

    pub fn elapsed_micros(&self, host: &impl Host) -> u64 {
        micros(self.elapsed(host))
    }
}

/// Converts microseconds to milliseconds, keeping the fraction.
pub fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Formats milliseconds since 1970 as RFC 3339, in UTC, to the second.
pub fn rfc3339(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// Returns the year, month and day of a day counted from 1970-01-01.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds * 1000), text);
        }
    }
}
