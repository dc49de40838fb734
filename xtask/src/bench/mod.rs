//! Benchmarks of the gateway and of the router.

mod answers;
mod bootstraps;
mod cpu;
mod gateway;
mod load;
mod machine;
mod memory;
mod options;
mod peer;
mod plan;
mod proxy;
mod report;
mod rounds;
mod router;
mod scenarios;
mod setup;
mod statistics;
mod upstream;

use anyhow::Result;
use clap::Subcommand;

use crate::workspace::Workspace;

/// The benchmark to run.
#[derive(Subcommand)]
pub enum Benchmark {
    /// The gateway, compared with an Envoy without it.
    Gateway(Box<options::BenchOptions>),
    /// The router: the value of its decisions, compared with simpler routers, and their cost.
    Router,
}

pub fn run(workspace: &Workspace, what: &Benchmark) -> Result<()> {
    match what {
        Benchmark::Gateway(options) => gateway::run(workspace, options),
        Benchmark::Router => router::run(workspace),
    }
}
