//! Prints the results as tables: medians of the rounds, and ratios to the plain Envoy of the same
//! round.

use std::fmt::Write as _;

use crate::bench::answers::CHUNKS;
use crate::bench::load::Sample;
use crate::bench::plan::Comparison;
use crate::bench::rounds::{MeasuredRound, RepeatRule};
use crate::bench::statistics::{Spread, median};

/// The results of one kind of load.
pub struct ComparisonReport<'a> {
    pub comparison: &'a Comparison,
    pub rounds: &'a [MeasuredRound],
    /// The names of all proxies, the plain Envoy first.
    pub proxies: &'a [&'a str],
}

impl ComparisonReport<'_> {
    /// Returns the ratios, with one row for each case and one column for each proxy.
    pub fn ratios(&self) -> String {
        let plain = median(self.rounds.iter().map(|round| round.baseline.cpu_micros));
        let plain = plain.unwrap_or(f64::NAN);
        let plain = match self.comparison.shape.stream {
            true => format!("1.00 ({:.1} µs/chunk)", plain / CHUNKS as f64),
            false => format!("1.00 ({plain:.1} µs)"),
        };
        self.table("case | goal", |number, goal| {
            let Some(number) = number else {
                return (plain.clone(), goal);
            };
            let ratio = |round: &MeasuredRound| {
                round.samples[number].cpu_micros / round.baseline.cpu_micros
            };
            (spread(self.rounds.iter().map(ratio), 2), goal)
        })
    }

    /// Returns the times by which the first chunk is later than a plain Envoy's.
    pub fn first_chunks(&self) -> String {
        let of = |sample: &Sample| sample.first_chunk_micros.unwrap_or(f64::NAN);
        let plain = median(self.rounds.iter().map(|round| of(&round.baseline)));
        let plain = format!("after {:.0} µs", plain.unwrap_or(f64::NAN));
        self.table("first chunk, added µs | goal", |number, _| {
            let goal = "1000".to_owned();
            let Some(number) = number else {
                return (plain.clone(), goal);
            };
            let added = |round: &MeasuredRound| of(&round.samples[number]) - of(&round.baseline);
            (spread(self.rounds.iter().map(added), 0), goal)
        })
    }

    /// Returns times and throughput, which depend on the machine.
    pub fn details(&self) -> String {
        let mut out = String::from(
            "| case | proxy | requests/s | p50 µs | p99 µs | CPU µs/request |\n|---|---|--:|--:|--:|--:|\n",
        );
        let baseline = self.rounds.iter().map(|round| &round.baseline).collect();
        let _ = writeln!(out, "| | {} | {} |", self.proxies[0], figures(baseline));
        for (number, trial) in self.comparison.trials.iter().enumerate() {
            let samples = self.rounds.iter().map(|round| &round.samples[number]);
            // Writing to a string can't fail.
            let _ = writeln!(
                out,
                "| {} | {} | {} |",
                trial.scenario.map_or("", |scenario| scenario.name),
                self.proxies[trial.proxy],
                figures(samples.collect())
            );
        }
        out
    }

    /// Returns a line about repeated and noisy rounds.
    pub fn noise(&self, rule: RepeatRule) -> String {
        let repeats: u16 = self.rounds.iter().map(|round| round.repeats).sum();
        let noisy = self.rounds.iter().filter(|round| rule.is_noisy(round));
        let largest = self.rounds.iter().map(|round| round.deviation);
        format!(
            "Rounds: {}; repetitions: {repeats}; noisy in spite of them: {}; largest deviation of \
             the plain Envoy: {:.0} %.",
            self.rounds.len(),
            noisy.count(),
            largest.fold(0.0, f64::max) * 100.0
        )
    }

    /// Returns a table with a row for each case. `figure` gets the number of the trial, or `None`
    /// for the plain Envoy, and the goal of the case; it returns the text of both.
    fn table(
        &self,
        heading: &str,
        figure: impl Fn(Option<usize>, String) -> (String, String),
    ) -> String {
        let mut out = format!("| {heading} |");
        for name in self.proxies {
            let _ = write!(out, " {name} |");
        }
        let _ = writeln!(out, "\n|---|--:|{}", "--:|".repeat(self.proxies.len()));
        let trials = &self.comparison.trials;
        let mut scenarios: Vec<_> = trials.iter().filter_map(|trial| trial.scenario).collect();
        scenarios.dedup_by_key(|scenario| scenario.name);
        for scenario in scenarios {
            let goal = scenario
                .goal
                .map_or(String::new(), |goal| format!("{goal}"));
            let (plain, goal) = figure(None, goal);
            let _ = write!(out, "| {} | {goal} | {plain} |", scenario.name);
            for proxy in 1..self.proxies.len() {
                let number = trials.iter().position(|trial| {
                    trial.proxy == proxy
                        && trial.scenario.is_some_and(|one| one.name == scenario.name)
                });
                let text = number.map_or(String::new(), |number| {
                    figure(Some(number), String::new()).0
                });
                let _ = write!(out, " {text} |");
            }
            out.push('\n');
        }
        out
    }
}

/// Returns the medians of a row of the details.
fn figures(samples: Vec<&Sample>) -> String {
    let of = |figure: fn(&Sample) -> f64| {
        median(samples.iter().map(|sample| figure(sample))).unwrap_or(f64::NAN)
    };
    format!(
        "{:.0} | {:.0} | {:.0} | {:.1}",
        of(|sample| sample.requests_per_second),
        of(|sample| sample.p50_micros),
        of(|sample| sample.p99_micros),
        of(|sample| sample.cpu_micros),
    )
}

fn spread(values: impl Iterator<Item = f64>, digits: usize) -> String {
    Spread::of(values).map_or(String::new(), |spread| {
        format!(
            "{:.digits$} ({:.digits$}-{:.digits$})",
            spread.median, spread.low, spread.high
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{Comparison, ComparisonReport, MeasuredRound, RepeatRule, Sample};
    use crate::bench::plan::{LoadShape, Trial};
    use crate::bench::scenarios::choose;

    fn sample(cpu_micros: f64, first_chunk_micros: f64) -> Sample {
        Sample {
            cpu_micros,
            first_chunk_micros: Some(first_chunk_micros),
            ..Sample::default()
        }
    }

    fn round(plain: f64, filter: f64) -> MeasuredRound {
        MeasuredRound {
            baseline: sample(plain, 100.0),
            samples: vec![sample(filter, 350.0)],
            deviation: 0.02,
            repeats: 1,
        }
    }

    fn comparison(stream: bool, name: &str) -> Comparison {
        let scenario = choose(&[name.to_owned()], false).unwrap()[0];
        let trial = |proxy, scenario| Trial {
            proxy,
            scenario,
            model: String::new(),
        };
        Comparison {
            shape: LoadShape {
                stream,
                body_kb: 1,
                connections: 32,
            },
            baseline: trial(0, None),
            trials: vec![trial(2, Some(scenario))],
        }
    }

    #[test]
    fn ratios_are_those_within_a_round() {
        let comparison = comparison(false, "OpenAI to Anthropic");
        // The machine was three times as fast in the second round; the ratios hardly differ.
        let report = ComparisonReport {
            comparison: &comparison,
            rounds: &[round(90.0, 180.0), round(30.0, 66.0), round(60.0, 126.0)],
            proxies: &["plain", "no filter", "wasm"],
        };
        assert_eq!(
            report.ratios(),
            "| case | goal | plain | no filter | wasm |\n|---|--:|--:|--:|--:|\n\
             | OpenAI to Anthropic | 1.7 | 1.00 (60.0 µs) |  | 2.10 (2.00-2.20) |\n"
        );
        let rule = RepeatRule {
            tolerance: 0.01,
            repeats: 1,
        };
        assert!(report.noise(rule).contains("noisy in spite of them: 3"));
    }

    #[test]
    fn a_first_chunk_is_compared_with_that_of_the_plain_envoy() {
        let comparison = comparison(true, "OpenAI, SSE");
        let report = ComparisonReport {
            comparison: &comparison,
            rounds: &[round(1000.0, 1200.0)],
            proxies: &["plain", "no filter", "wasm"],
        };
        assert!(report.first_chunks().contains("| 250 (250-250) |"));
        assert!(report.ratios().contains("10.0 µs/chunk"));
    }
}
