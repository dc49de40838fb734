//! `cargo xtask bench gateway`: the cost of the gateway, as multiples of an Envoy without it.
//!
//! One worker of each Envoy is pinned to a core; the load generator, the providers and the control
//! plane have the others. CPU is that of the whole Envoy process, including traces, divided by the
//! number of requests: on a noisy machine it is stable where times aren't.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::bench::load::Sample;
use crate::bench::options::BenchOptions;
use crate::bench::plan::{self, Comparison, Trial};
use crate::bench::proxy::{MeasuredProxy, ProxyKind};
use crate::bench::report::ComparisonReport;
use crate::bench::rounds::{MeasuredRound, RepeatRule};
use crate::bench::setup::{EnvoyForm, Setup};
use crate::bench::{cpu, machine, memory};
use crate::processes::Processes;
use crate::workspace::Workspace;

/// Duration of each measurement in the round that warms up.
const WARM_UP: Duration = Duration::from_millis(300);

pub fn run(workspace: &Workspace, options: &BenchOptions) -> Result<()> {
    let (setup, forms) = Setup::new(workspace, options)?;
    // Otherwise the Envoys would outlive this process.
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&setup.stopping))?;
    }
    let load_before = machine::load_average()?;
    let tables = match options.memory {
        true => memory::run(&setup, &forms, options)?,
        false => compare(&setup, &forms, options)?,
    };
    println!(
        "{}; {}, {} cores; Envoy {}; load average {load_before} at the start, {} at the end\n",
        machine::date()?,
        machine::processor()?,
        setup.all_cores().len(),
        setup.envoy_version()?,
        machine::load_average()?,
    );
    println!("{tables}");
    Ok(())
}

/// Measures CPU time and latency, and returns the tables.
fn compare(setup: &Setup, forms: &[EnvoyForm], options: &BenchOptions) -> Result<String> {
    let mut processes = Processes::stopped_by(Arc::clone(&setup.stopping));
    let proxies = start(setup, &mut processes, forms, options)?;
    let comparisons = plan::comparisons(options, &proxies).map_err(anyhow::Error::msg)?;
    try_all(&comparisons, &proxies)?;
    let rule = RepeatRule {
        tolerance: f64::from(options.tolerance) / 100.0,
        repeats: options.repeats,
    };
    let run = BenchRun {
        setup,
        proxies: &proxies,
        comparisons: &comparisons,
        rule,
        duration: Duration::from_secs_f64(options.seconds),
        first_chunks: options.first_chunks,
    };
    let results = run.rounds(options.rounds)?;
    let names: Vec<&str> = proxies.iter().map(|proxy| proxy.name.as_str()).collect();
    let mut out = String::new();
    for (comparison, rounds) in comparisons.iter().zip(&results) {
        let report = ComparisonReport {
            comparison,
            rounds,
            proxies: &names,
        };
        let title = comparison.shape.title();
        out.push_str(&format!("### {title}\n\n{}\n", report.ratios()));
        if comparison.shape.stream {
            out.push_str(&format!("{}\n", report.first_chunks()));
        }
        out.push_str(&format!("{}\n\n{}\n", report.noise(rule), report.details()));
    }
    Ok(out)
}

/// Starts the Envoys, finds the peers, and pins all of them to the same core.
fn start(
    setup: &Setup,
    processes: &mut Processes,
    forms: &[EnvoyForm],
    options: &BenchOptions,
) -> Result<Vec<MeasuredProxy>> {
    let mut proxies = Vec::new();
    setup.start_control_plane(processes)?;
    for (number, form) in forms.iter().enumerate() {
        proxies.push(setup.start_envoy(processes, form, number, 1)?);
    }
    for peer in &options.peers {
        let pids = peer.processes()?;
        eprintln!("{}: processes {pids:?}", peer.name);
        proxies.push(MeasuredProxy {
            name: peer.name.clone(),
            kind: ProxyKind::Peer,
            address: peer.address,
            path_prefix: peer.path_prefix.clone(),
            headers: String::new(),
            pids,
        });
    }
    for pid in proxies.iter().flat_map(|proxy| &proxy.pids) {
        cpu::pin_process(*pid, &[setup.envoy_core])?;
    }
    Ok(proxies)
}

/// Sends one request of each kind, so that a proxy which can't answer ends the run early.
fn try_all(comparisons: &[Comparison], proxies: &[MeasuredProxy]) -> Result<()> {
    for comparison in comparisons {
        for trial in [&comparison.baseline].into_iter().chain(&comparison.trials) {
            let proxy = &proxies[trial.proxy];
            let load = trial.load(proxy, comparison.shape);
            load.try_once().with_context(|| label(trial, proxy))?;
        }
    }
    Ok(())
}

fn label(trial: &Trial, proxy: &MeasuredProxy) -> String {
    match trial.scenario {
        Some(scenario) => format!("{} [{}]", scenario.name, proxy.name),
        None => proxy.name.clone(),
    }
}

/// A run of all comparisons.
struct BenchRun<'a> {
    setup: &'a Setup,
    proxies: &'a [MeasuredProxy],
    comparisons: &'a [Comparison],
    rule: RepeatRule,
    duration: Duration,
    first_chunks: u16,
}

impl BenchRun<'_> {
    /// Returns the rounds of each comparison.
    fn rounds(&self, count: u16) -> Result<Vec<Vec<MeasuredRound>>> {
        let mut results: Vec<Vec<MeasuredRound>> =
            self.comparisons.iter().map(|_| Vec::new()).collect();
        let mut order: Vec<usize> = (0..self.comparisons.len()).collect();
        let started = Instant::now();
        for round in 0..=count {
            fastrand::shuffle(&mut order);
            for (done, index) in order.iter().enumerate() {
                let comparison = &self.comparisons[*index];
                let block = format!(
                    "{}, load {} of {}",
                    match round {
                        0 => "warm-up".to_owned(),
                        _ => format!("round {round} of {count}"),
                    },
                    done + 1,
                    order.len()
                );
                // The first round is a warm-up: nothing is repeated or kept.
                let (duration, rule) = match round {
                    0 => (
                        WARM_UP,
                        RepeatRule {
                            repeats: 0,
                            ..self.rule
                        },
                    ),
                    _ => (self.duration, self.rule),
                };
                let mut measure = |trial: Option<usize>| {
                    let trial =
                        trial.map_or(&comparison.baseline, |trial| &comparison.trials[trial]);
                    show(&block, &label(trial, &self.proxies[trial.proxy]), started);
                    self.measure(comparison, trial, duration)
                };
                let trials = comparison.trials.len();
                let measured = rule.round(trials, &results[*index], &mut measure)?;
                if round > 0 {
                    results[*index].push(measured);
                }
            }
            if round > 0 {
                self.show_interim(round, &results);
            }
        }
        Ok(results)
    }

    fn measure(
        &self,
        comparison: &Comparison,
        trial: &Trial,
        duration: Duration,
    ) -> Result<Sample> {
        self.setup.check_stopping()?;
        let proxy = &self.proxies[trial.proxy];
        let load = trial.load(proxy, comparison.shape);
        let measure = || -> Result<Sample> {
            self.setup.providers.pace(load.connections);
            let mut sample = load.measure(&proxy.pids, duration)?;
            if comparison.shape.stream {
                self.setup.providers.pace(1);
                sample.first_chunk_micros = load.first_chunk_micros(self.first_chunks)?;
            }
            Ok(sample)
        };
        measure().with_context(|| label(trial, proxy))
    }

    /// Prints the ratios of the latest round.
    fn show_interim(&self, round: u16, results: &[Vec<MeasuredRound>]) {
        for (comparison, rounds) in self.comparisons.iter().zip(results) {
            let Some(last) = rounds.last() else { continue };
            let ratios = comparison.trials.iter().zip(&last.samples);
            let ratios: Vec<String> = ratios
                .map(|(trial, sample)| {
                    let ratio = sample.cpu_micros / last.baseline.cpu_micros;
                    format!("{} {ratio:.2}", label(trial, &self.proxies[trial.proxy]))
                })
                .collect();
            let title = comparison.shape.title();
            clear_line();
            eprintln!("round {round}, {title}: {}", ratios.join("; "));
        }
    }
}

/// Shows the measurement that begins: in place on a terminal, otherwise on a line of its own.
fn show(block: &str, label: &str, started: Instant) {
    clear_line();
    let seconds = started.elapsed().as_secs();
    let end = if std::io::stderr().is_terminal() {
        ""
    } else {
        "\n"
    };
    eprint!("{block}, {seconds} s: {label}{end}");
    // Progress that can't be shown is not worth an error.
    let _ = std::io::stderr().flush();
}

fn clear_line() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}
