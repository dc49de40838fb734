//! Exact times and sums of money.

use opentracy_translate::cost::Usd;
use serde::{Deserialize, Serialize};

/// Microseconds: a duration, or a time since the epoch.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Micros(pub i64);

/// An exact sum of money in 10⁻¹² USD. Integers make sums independent of the order of addition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PicoUsd(pub i64);

impl Micros {
    pub fn millis(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Formats the time as RFC 3339.
    pub fn timestamp(self) -> String {
        jiff::Timestamp::from_microsecond(self.0)
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
            .to_string()
    }
}

/// Converts unsigned times of the wire; no real time is near the end of either range.
impl From<u64> for Micros {
    fn from(micros: u64) -> Self {
        Self(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

impl PicoUsd {
    pub fn usd(self) -> f64 {
        self.0 as f64 / 1e12
    }

    /// Converts from USD; saturates.
    pub fn from_usd(usd: f64) -> Self {
        Self((usd * 1e12).round() as i64)
    }
}

impl From<Usd> for PicoUsd {
    fn from(usd: Usd) -> Self {
        Self::from_usd(usd.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_exact() {
        let cent = PicoUsd::from_usd(0.01);
        assert_eq!(cent.0, 10_000_000_000);
        assert_eq!(cent.usd(), 0.01);
        assert_eq!(PicoUsd::from_usd(1e-10).usd(), 1e-10);
    }
}
