//! Rounds of measurements whose noise can be seen: the plain Envoy is measured first and last. In
//! between, everything that is compared with it is measured in random order.

use anyhow::Result;

use crate::bench::load::Sample;
use crate::bench::statistics::{deviation, median};

/// The result of a block of measurements.
#[derive(Debug)]
pub struct MeasuredRound {
    /// The mean of the plain Envoy's two measurements.
    pub baseline: Sample,
    /// One for each trial, in the order of the trials.
    pub samples: Vec<Sample>,
    /// The plain Envoy's deviation, as a share.
    pub deviation: f64,
    pub repeats: u16,
}

/// The rule for repeating a block.
#[derive(Debug, Clone, Copy)]
pub struct RepeatRule {
    /// The largest deviation of the plain Envoy, as a share.
    pub tolerance: f64,
    /// The most repetitions.
    pub repeats: u16,
}

impl RepeatRule {
    /// Measures a block until the plain Envoy deviates little enough, and keeps the block with the
    /// smallest deviation. `measure` gets the number of a trial, or `None` for the plain Envoy.
    pub fn round(
        self,
        trials: usize,
        earlier: &[MeasuredRound],
        measure: &mut dyn FnMut(Option<usize>) -> Result<Sample>,
    ) -> Result<MeasuredRound> {
        let usual = median(earlier.iter().map(|round| round.baseline.cpu_micros));
        let mut best = block(trials, usual, measure)?;
        for repeats in 1..=self.repeats {
            if best.deviation <= self.tolerance {
                break;
            }
            let next = block(trials, usual, measure)?;
            if next.deviation < best.deviation {
                best = next;
            }
            best.repeats = repeats;
        }
        Ok(best)
    }

    /// Returns true if the plain Envoy deviated in spite of all repetitions.
    pub fn is_noisy(self, round: &MeasuredRound) -> bool {
        round.deviation > self.tolerance
    }
}

/// Measures everything once. `usual` is the plain Envoy's CPU time in the earlier rounds.
fn block(
    trials: usize,
    usual: Option<f64>,
    measure: &mut dyn FnMut(Option<usize>) -> Result<Sample>,
) -> Result<MeasuredRound> {
    let first = measure(None)?;
    let mut samples = vec![Sample::default(); trials];
    for index in shuffled(trials) {
        samples[index] = measure(Some(index))?;
    }
    let last = measure(None)?;
    let within = deviation(first.cpu_micros, last.cpu_micros);
    let baseline = mean(&first, &last);
    let among = usual.map_or(0.0, |usual| deviation(usual, baseline.cpu_micros));
    Ok(MeasuredRound {
        baseline,
        samples,
        deviation: within.max(among),
        repeats: 0,
    })
}

/// Returns the numbers below a limit in random order.
fn shuffled(count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    fastrand::shuffle(&mut order);
    order
}

fn mean(one: &Sample, other: &Sample) -> Sample {
    let of = |figure: fn(&Sample) -> f64| f64::midpoint(figure(one), figure(other));
    Sample {
        requests_per_second: of(|sample| sample.requests_per_second),
        cpu_micros: of(|sample| sample.cpu_micros),
        p50_micros: of(|sample| sample.p50_micros),
        p99_micros: of(|sample| sample.p99_micros),
        first_chunk_micros: one
            .first_chunk_micros
            .zip(other.first_chunk_micros)
            .map(|(one, other)| f64::midpoint(one, other)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{MeasuredRound, RepeatRule, Sample, shuffled};

    const RULE: RepeatRule = RepeatRule {
        tolerance: 0.1,
        repeats: 2,
    };

    fn sample(cpu_micros: f64) -> Sample {
        Sample {
            cpu_micros,
            ..Sample::default()
        }
    }

    /// Runs a round in which the plain Envoy takes these times, one after another.
    fn round(baselines: &[f64], earlier: &[MeasuredRound]) -> (MeasuredRound, Vec<Option<usize>>) {
        let mut order = Vec::new();
        let mut baselines = baselines.iter();
        let round = RULE.round(3, earlier, &mut |trial| {
            order.push(trial);
            Ok(match trial {
                Some(number) => sample(100.0 + number as f64),
                None => sample(*baselines.next().unwrap()),
            })
        });
        (round.unwrap(), order)
    }

    #[test]
    fn a_shuffled_order_has_every_number_once_and_changes() {
        let orders: HashSet<Vec<usize>> = (0..50).map(|_| shuffled(6)).collect();
        for order in &orders {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4, 5]);
        }
        assert!(orders.len() > 10, "{} orders", orders.len());
    }

    #[test]
    fn the_plain_envoy_comes_first_and_last_and_samples_keep_their_trial() {
        let (round, order) = round(&[10.0, 10.5], &[]);
        assert_eq!((order.len(), order[0], order[4]), (5, None, None));
        let cpu = round.samples.iter().map(|sample| sample.cpu_micros);
        assert_eq!(cpu.collect::<Vec<_>>(), [100.0, 101.0, 102.0]);
        assert!((round.baseline.cpu_micros - 10.25).abs() < 1e-9);
        assert_eq!(round.repeats, 0);
        assert!(!RULE.is_noisy(&round));
    }

    #[test]
    fn a_block_whose_plain_envoy_changes_is_repeated() {
        let (round, order) = round(&[10.0, 14.0, 10.0, 10.0], &[]);
        assert_eq!((order.len(), round.repeats), (10, 1));
        assert!(!RULE.is_noisy(&round));
    }

    #[test]
    fn a_block_that_differs_from_earlier_rounds_is_repeated() {
        let (earlier, _) = round(&[10.0, 10.0], &[]);
        let (round, _) = round(&[20.0, 20.0, 10.1, 10.1], &[earlier]);
        assert_eq!(round.repeats, 1);
        assert!((round.baseline.cpu_micros - 10.1).abs() < 1e-9);
    }

    #[test]
    fn the_best_block_is_kept_and_is_noisy_if_none_was_good() {
        let (round, order) = round(&[10.0, 20.0, 10.0, 13.0, 10.0, 16.0], &[]);
        assert_eq!((order.len(), round.repeats), (15, 2));
        assert!((round.deviation - 0.3).abs() < 1e-9);
        assert!(RULE.is_noisy(&round));
    }

    #[test]
    fn a_measurement_that_fails_ends_the_round() {
        let failed = RULE.round(1, &[], &mut |_| anyhow::bail!("refused"));
        assert_eq!(failed.unwrap_err().to_string(), "refused");
    }
}
