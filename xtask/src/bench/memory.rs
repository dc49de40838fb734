//! The memory of an Envoy in each of its forms: idle, and after calls.

use std::fs;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::bench::load::{Limit, RequestLoad};
use crate::bench::options::BenchOptions;
use crate::bench::plan::{LoadShape, Trial};
use crate::bench::proxy::{MeasuredProxy, ProxyKind};
use crate::bench::scenarios;
use crate::bench::setup::{EnvoyForm, Setup};
use crate::bench::{cpu, upstream};
use crate::processes::Processes;

const WORKERS: [usize; 2] = [1, 4];
const CONNECTIONS: u16 = 32;
/// The cases whose calls take turns in equal shares: one for each stage of the filter.
const CALLS: [&str; 2] = ["OpenAI, passed through", "alias of two, the first answers"];
/// Calls after which a signal to stop is noticed.
const CALLS_AT_ONCE: usize = 5_000;
/// An Envoy is idle when its memory changed by less than this for [`QUIET`].
const CHANGE_KB: u64 = 512;
const QUIET: Duration = Duration::from_secs(5);
const SETTLE_DEADLINE: Duration = Duration::from_secs(60);

/// Resident memory of a process, in KB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Residency {
    rss_kb: u64,
    /// The part that isn't shared with a file, such as that of the program.
    anonymous_kb: u64,
}

impl Residency {
    fn read(pid: u32) -> Result<Self> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
            .with_context(|| format!("process {pid} has ended"))?;
        Self::parse(&rollup).context("the kernel reports no memory in smaps_rollup")
    }

    fn parse(rollup: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Some(Self {
            rss_kb: field("Rss:")?,
            anonymous_kb: field("Anonymous:")?,
        })
    }
}

/// Starts each Envoy, measures it and stops it, and returns the table.
pub fn run(setup: &Setup, forms: &[EnvoyForm], options: &BenchOptions) -> Result<String> {
    let mut control_plane = Processes::stopped_by(Arc::clone(&setup.stopping));
    setup.start_control_plane(&mut control_plane)?;
    let calls = options.memory_calls;
    let mut table = format!(
        "| column | workers | idle, MB | of it not of files | after {calls} calls, MB | of it not of files |\n\
         |---|--:|--:|--:|--:|--:|\n"
    );
    for form in forms {
        for workers in WORKERS {
            setup.check_stopping()?;
            let mut processes = Processes::stopped_by(Arc::clone(&setup.stopping));
            let proxy = setup.start_envoy(&mut processes, form, 0, workers)?;
            let pid = proxy.pids[0];
            cpu::pin_process(pid, &setup.all_cores())?;
            eprintln!("{}, {workers} workers: idle …", proxy.name);
            let idle = settled(pid)?;
            eprintln!("{}, {workers} workers: {calls} calls …", proxy.name);
            for load in loads(&proxy)? {
                let mut left = calls / CALLS.len();
                while left > 0 {
                    setup.check_stopping()?;
                    let part = left.min(CALLS_AT_ONCE);
                    load.send(Limit::Requests(part))?;
                    left -= part;
                }
            }
            let after = settled(pid)?;
            let row = format!(
                "| {} | {workers} | {} | {} | {} | {} |",
                proxy.name,
                mb(idle.rss_kb),
                mb(idle.anonymous_kb),
                mb(after.rss_kb),
                mb(after.anonymous_kb),
            );
            // A run that is interrupted has shown what it measured.
            eprintln!("{row}");
            table.push_str(&row);
            table.push('\n');
        }
    }
    Ok(table)
}

/// Waits until the memory of a process hardly changes.
fn settled(pid: u32) -> Result<Residency> {
    let started = Instant::now();
    let mut usual = Residency::read(pid)?;
    let mut since = Instant::now();
    while since.elapsed() < QUIET && started.elapsed() < SETTLE_DEADLINE {
        sleep(Duration::from_millis(250));
        let now = Residency::read(pid)?;
        if now.rss_kb.abs_diff(usual.rss_kb) > CHANGE_KB {
            (usual, since) = (now, Instant::now());
        }
    }
    Residency::read(pid)
}

fn loads(proxy: &MeasuredProxy) -> Result<Vec<RequestLoad>> {
    let shape = LoadShape {
        stream: false,
        body_kb: 1,
        connections: CONNECTIONS,
    };
    let names = CALLS.map(str::to_owned);
    let scenarios = scenarios::choose(&names, false).map_err(anyhow::Error::msg)?;
    let loads = scenarios.into_iter().map(|scenario| {
        let trial = Trial {
            proxy: 0,
            scenario: Some(scenario),
            model: match proxy.kind {
                ProxyKind::Gateway => scenario.model.to_owned(),
                _ => upstream::PLAIN_MODEL.to_owned(),
            },
        };
        trial.load(proxy, shape)
    });
    Ok(loads.collect())
}

fn mb(kb: u64) -> String {
    format!("{:.0}", kb as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::{CALLS, Residency, scenarios};

    #[test]
    fn resident_and_anonymous_memory_are_read() {
        let rollup = "55d0-7ffc ---p 00000000 00:00 0    [rollup]\n\
            Rss:              119604 kB\nPss:               70000 kB\nPss_Anon:  1 kB\n\
            Anonymous:         57344 kB\n";
        let expected = Residency {
            rss_kb: 119_604,
            anonymous_kb: 57_344,
        };
        assert_eq!(Residency::parse(rollup), Some(expected));
        assert_eq!(Residency::parse("Rss:  12 kB\n"), None);
    }

    #[test]
    fn memory_of_this_process_grows_with_what_it_holds() {
        let before = Residency::read(std::process::id()).unwrap();
        let held = vec![1_u8; 32 << 20];
        let after = Residency::read(std::process::id()).unwrap();
        assert!(after.anonymous_kb > before.anonymous_kb + 16 * 1024);
        assert_eq!(held.len(), 32 << 20);
    }

    #[test]
    fn the_calls_are_cases_of_the_benchmark() {
        let names = CALLS.map(str::to_owned);
        assert_eq!(scenarios::choose(&names, false).unwrap().len(), CALLS.len());
    }
}
