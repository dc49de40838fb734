//! `cargo xtask bench`: what the gateway costs, as multiples of an Envoy without it.
//!
//! One worker of each Envoy is pinned to a core; the load, the providers and the control plane have the others. CPU is that
//! of the whole Envoy process, traces and all, divided by the requests: on a noisy machine it holds where times don't.
//! The cases take turns, round after round, so that noise meets all of them.

mod cpu;
mod load;
mod report;
mod setup;
mod upstream;

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::bench::load::{Load, Sample};
use crate::bench::setup::Setup;
use crate::workspace::Workspace;

#[derive(Args)]
pub struct Options {
    /// How long each case runs in each round, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Requests under way at once.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Only the cases whose names hold this.
    #[arg(long, default_value = "")]
    only: String,
}

/// Which Envoy a case goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Gateway,
}

struct Case {
    name: &'static str,
    way: Way,
    model: &'static str,
    stream: bool,
}

const CASES: [Case; 8] = [
    case("plain Envoy", Way::Plain, "gpt-4o-mini", false),
    case(
        "OpenAI, passed through",
        Way::Gateway,
        "openai/gpt-4o-mini",
        false,
    ),
    case(
        "OpenAI to Anthropic",
        Way::Gateway,
        "anthropic/claude-sonnet-4-6",
        false,
    ),
    case("alias with a fallback", Way::Gateway, "smart", false),
    case("plain Envoy, SSE", Way::Plain, "gpt-4o-mini", true),
    case("OpenAI, SSE", Way::Gateway, "openai/gpt-4o-mini", true),
    case(
        "OpenAI to Anthropic, SSE",
        Way::Gateway,
        "anthropic/claude-sonnet-4-6",
        true,
    ),
    case("alias with a fallback, SSE", Way::Gateway, "smart", true),
];

const fn case(name: &'static str, way: Way, model: &'static str, stream: bool) -> Case {
    Case {
        name,
        way,
        model,
        stream,
    }
}

pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let setup = Setup::start(workspace)?;
    let duration = Duration::from_secs_f64(options.seconds);
    let cases: Vec<&Case> = CASES
        .iter()
        // What the others are compared with is always there.
        .filter(|case| case.way == Way::Plain || case.name.contains(&options.only))
        .collect();
    let mut samples: Vec<Vec<Sample>> = cases.iter().map(|_| Vec::new()).collect();
    let mut first_chunks: Vec<Vec<Duration>> = cases.iter().map(|_| Vec::new()).collect();
    for round in 0..=options.rounds {
        for (index, case) in cases.iter().enumerate() {
            let load = Load {
                address: setup.address(case.way),
                body: upstream::request(case.model, case.stream),
                pid: setup.envoy(case.way),
            };
            eprint!("\rround {round} of {}: {:40}", options.rounds, case.name);
            let sample = load.run(options.connections, duration)?;
            // The first round warms everything up.
            if round > 0 {
                samples[index].push(sample);
                if case.stream {
                    first_chunks[index].extend(load.first_chunks(200)?);
                }
            }
        }
    }
    eprintln!("\r{:60}", "");
    println!("{}", report::table(&cases, &samples, &mut first_chunks));
    Ok(())
}
