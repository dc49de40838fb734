//! Prints the results as a table: medians of the rounds, and ratios to the plain Envoy of the same
//! run.

use std::fmt::Write as _;
use std::time::Duration;

use crate::bench::answers::CHUNKS;
use crate::bench::load::Sample;
use crate::bench::{Case, Way};

/// Returns the table. `filters` are the names of the builds that this workspace's is compared with.
pub fn table(
    cases: &[Case],
    filters: &[&str],
    samples: &[Vec<Sample>],
    first_chunks: &mut [Vec<Duration>],
) -> String {
    let cpu: Vec<f64> = samples
        .iter()
        .map(|rounds| median(rounds.iter().map(|sample| micros(sample.cpu_per_request))))
        .collect();
    let first: Vec<f64> = first_chunks
        .iter_mut()
        .map(|times| median(times.iter().map(|&time| micros(time))))
        .collect();
    let mut out = String::from(
        "| case | requests/s | p50 µs | p99 µs | CPU µs/request | CPU ratio (range) | added to first chunk |\n|---|--:|--:|--:|--:|--:|--:|\n",
    );
    for (index, case) in cases.iter().enumerate() {
        let baseline = cases
            .iter()
            .position(|other| other.way == Way::Plain && other.stream == case.stream)
            .unwrap_or(index);
        let mut latencies: Vec<f64> = samples[index]
            .iter()
            .flat_map(|sample| &sample.latencies)
            .map(|&latency| micros(latency))
            .collect();
        latencies.sort_by(f64::total_cmp);
        let mut ratios: Vec<f64> = samples[index]
            .iter()
            .zip(&samples[baseline])
            .map(|(own, plain)| micros(own.cpu_per_request) / micros(plain.cpu_per_request))
            .collect();
        ratios.sort_by(f64::total_cmp);
        let build = match case.way {
            Way::Gateway(number) if number > 0 => format!(" [{}]", filters[number - 1]),
            _ => String::new(),
        };
        let per_chunk = if case.stream {
            format!(" ({:.2}/chunk)", cpu[index] / CHUNKS as f64)
        } else {
            String::new()
        };
        let added = if case.stream && index != baseline {
            format!("{:+.0} µs", first[index] - first[baseline])
        } else {
            String::new()
        };
        // Writing to a string can't fail.
        let _ = writeln!(
            out,
            "| {}{build} | {:.0} | {:.0} | {:.0} | {:.1}{per_chunk} | {:.2} ({:.2}-{:.2}) | {added} |",
            case.name,
            median(
                samples[index]
                    .iter()
                    .map(|sample| sample.requests_per_second)
            ),
            quantile(&latencies, 0.5),
            quantile(&latencies, 0.99),
            cpu[index],
            quantile(&ratios, 0.5),
            quantile(&ratios, 0.0),
            quantile(&ratios, 1.0),
        );
    }
    out
}

fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1000.0
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// Returns a quantile of sorted values.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let index = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}
