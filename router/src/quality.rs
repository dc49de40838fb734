//! Quality of estimates and decisions, measured on outcomes that they were not fitted on.

use serde::{Deserialize, Serialize};

/// Calibration of one model's estimates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Number of outcomes measured, each with a head that was fitted without it.
    pub outcomes: usize,
    /// Expected calibration error: the mean distance between an estimate and the observed rate.
    pub expected_calibration_error: f64,
    /// Mean squared error of the estimates (Brier 1950).
    pub brier: f64,
    /// Brier score of the model's mean error alone: the baseline to beat.
    pub brier_of_mean: f64,
}

/// Number of bins, each with equally many estimates.
const BINS: usize = 15;

impl Calibration {
    /// Measures pairs of an estimated and an observed error, both from 0 to 1.
    pub fn measure(pairs: &[(f64, f64)]) -> Self {
        let count = pairs.len().max(1) as f64;
        let mean = pairs.iter().map(|(_, truth)| truth).sum::<f64>() / count;
        let brier = |estimate: &dyn Fn(f64) -> f64| {
            let squares = pairs
                .iter()
                .map(|&(guess, truth)| (estimate(guess) - truth).powi(2));
            squares.sum::<f64>() / count
        };
        Self {
            outcomes: pairs.len(),
            expected_calibration_error: calibration_error(pairs),
            brier: brier(&|guess| guess),
            brier_of_mean: brier(&|_| mean),
        }
    }
}

fn calibration_error(pairs: &[(f64, f64)]) -> f64 {
    let mut sorted = pairs.to_vec();
    sorted.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let gap = |bin: &[(f64, f64)]| {
        let (guesses, truths): (Vec<f64>, Vec<f64>) = bin.iter().copied().unzip();
        (guesses.iter().sum::<f64>() - truths.iter().sum::<f64>()).abs()
    };
    let bins = sorted.chunks(sorted.len().div_ceil(BINS).max(1));
    bins.map(gap).sum::<f64>() / pairs.len().max(1) as f64
}

/// Performance gap recovered by a router between two models, by the share of calls to the strong
/// model.
#[derive(Debug, Clone, PartialEq)]
pub struct GapCurve {
    /// Recovered gap after 0, 1, 2, … calls to the strong model: 0 at no calls, 1 at all.
    recovered: Vec<f64>,
}

/// The errors of two models on one prompt, and the router's preference for the strong model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    pub preference: f64,
    pub weak_error: f64,
    pub strong_error: f64,
}

impl GapCurve {
    /// Sends calls to the strong model in the order of preference. Returns `None` unless the strong
    /// model is better.
    pub fn measure(pairs: &[Pair]) -> Option<Self> {
        let mut sorted = pairs.to_vec();
        sorted.sort_by(|a, b| b.preference.total_cmp(&a.preference));
        let gains = sorted
            .iter()
            .map(|pair| pair.weak_error - pair.strong_error);
        let gap: f64 = gains.clone().sum();
        let mut sum = 0.0;
        let steps = gains.map(|gain| {
            sum += gain;
            sum / gap
        });
        let recovered = std::iter::once(0.0).chain(steps).collect();
        (gap > 0.0).then_some(Self { recovered })
    }

    /// Returns the area under the curve: the average performance gap recovered (RouteLLM, Ong et
    /// al. 2024). Random routing gives about 0.5.
    pub fn apgr(&self) -> f64 {
        let steps = self.recovered.len().saturating_sub(1).max(1) as f64;
        let areas = self
            .recovered
            .windows(2)
            .map(|pair| (pair[0] + pair[1]) / 2.0);
        areas.sum::<f64>() / steps
    }

    /// Returns the least share of calls to the strong model that recovers this much of the gap:
    /// CPT(50) is for 0.5.
    pub fn share_for(&self, recovered: f64) -> f64 {
        let steps = self.recovered.len().saturating_sub(1).max(1) as f64;
        // Float sums: the end of the curve is 1 only up to rounding.
        let reached = |value: &f64| *value >= recovered - 1e-9;
        let calls = self.recovered.iter().position(reached);
        calls.map_or(1.0, |calls| calls as f64 / steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(preference: impl Fn(usize) -> f64) -> Vec<Pair> {
        let pair = |index: usize| Pair {
            preference: preference(index),
            weak_error: f64::from(index.is_multiple_of(4)),
            strong_error: 0.0,
        };
        (0..1000).map(pair).collect()
    }

    #[test]
    fn an_oracle_recovers_the_gap_with_the_calls_that_matter() {
        let curve = GapCurve::measure(&pairs(|index| f64::from(index.is_multiple_of(4)))).unwrap();
        assert!((curve.share_for(1.0) - 0.25).abs() < 1e-9);
        assert!((curve.share_for(0.5) - 0.125).abs() < 1e-9);
        assert!((curve.apgr() - 0.875).abs() < 1e-3);
    }

    #[test]
    fn a_router_that_knows_nothing_is_at_a_half() {
        let curve = GapCurve::measure(&pairs(|index| (index * 7919 % 1000) as f64)).unwrap();
        assert!((curve.apgr() - 0.5).abs() < 0.02, "{}", curve.apgr());
    }

    #[test]
    fn without_a_gap_there_is_no_curve() {
        let pair = Pair {
            preference: 0.0,
            weak_error: 0.0,
            strong_error: 1.0,
        };
        assert_eq!(GapCurve::measure(&[pair]), None);
    }

    #[test]
    fn estimates_that_come_true_are_calibrated() {
        let pairs = |shift: f64| -> Vec<(f64, f64)> {
            (0..1000)
                .map(|index| {
                    let error = f64::from(index / 500) * 0.6 + 0.2;
                    (
                        error + shift,
                        f64::from(f64::from(index % 10) < error * 10.0),
                    )
                })
                .collect()
        };
        assert!(Calibration::measure(&pairs(0.0)).expected_calibration_error < 0.02);
        let shifted = Calibration::measure(&pairs(0.1));
        assert!((shifted.expected_calibration_error - 0.1).abs() < 0.02);
        assert!(shifted.brier < shifted.brier_of_mean);
    }
}
