//! `cargo xtask bench gateway`: the cost of the gateway, as multiples of an Envoy without it.
//!
//! One worker of each Envoy is pinned to a core; the load generator, the providers and the control
//! plane have the others. CPU is that of the whole Envoy process, including traces, divided by the
//! number of requests: on a noisy machine it is stable where times aren't. The cases alternate in a
//! random order, round after round, and ratios are those within a round, so that noise affects all
//! of them alike.

mod answers;
mod cpu;
mod load;
mod report;
mod router;
mod setup;
mod upstream;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use opentracy_translate::client::Api;

use crate::bench::load::{Load, Sample};
use crate::bench::setup::Setup;
use crate::workspace::Workspace;

/// The benchmark to run.
#[derive(Subcommand)]
pub enum Benchmark {
    /// The gateway, compared with an Envoy without it.
    Gateway(BenchOptions),
    /// The router: the value of its decisions, compared with simpler routers, and their cost.
    Router,
}

#[derive(Args)]
pub struct BenchOptions {
    /// Duration of each case per round, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Number of concurrent requests.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Run only the case with this name, or those whose names contain this text; may be repeated.
    #[arg(long)]
    only: Vec<String>,
    /// Size of the requests, in KB.
    #[arg(long, default_value_t = 1)]
    body_kb: usize,
    /// Another build of the filter to compare with, as `NAME=FILE`; may be repeated.
    #[arg(long = "filter", value_name = "NAME=FILE", value_parser = other_filter)]
    filters: Vec<OtherFilter>,
}

impl BenchOptions {
    /// Returns the chosen cases, with the plain Envoy that each is compared with.
    fn cases(&self) -> Vec<Case> {
        let is_name = |text: &str| CASES.iter().any(|case| case.name == text);
        let is_chosen = |case: &&Case| {
            self.only.iter().any(|text| {
                case.name == text || (!is_name(text) && case.name.contains(text.as_str()))
            })
        };
        let chosen: Vec<&Case> = if self.only.is_empty() {
            CASES.iter().collect()
        } else {
            CASES.iter().filter(is_chosen).collect()
        };
        let is_baseline = |case: &Case| {
            case.way == Way::Plain && chosen.iter().any(|other| other.stream == case.stream)
        };
        let runs =
            |case: &&Case| is_baseline(case) || chosen.iter().any(|one| one.name == case.name);
        let cases = CASES.iter().filter(runs);
        cases.flat_map(|case| for_each_filter(case, self)).collect()
    }
}

/// Another build of the filter.
#[derive(Debug, Clone)]
struct OtherFilter {
    name: String,
    file: PathBuf,
}

fn other_filter(text: &str) -> Result<OtherFilter, String> {
    let (name, file) = text.split_once('=').ok_or("must be `NAME=FILE`")?;
    Ok(OtherFilter {
        name: name.to_owned(),
        file: file.into(),
    })
}

/// The Envoy that a case goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    /// The gateway's, with the filter of this number: 0 for this workspace's.
    Gateway(usize),
}

#[derive(Clone)]
struct Case {
    name: &'static str,
    way: Way,
    api: Api,
    model: &'static str,
    stream: bool,
}

const OPENAI: &str = "openai/gpt-4o-mini";
const ANTHROPIC: &str = "anthropic/claude-sonnet-4-6";
const GEMINI: &str = "gemini/gemini-2.5-pro";
const BEDROCK: &str = "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0";
const COHERE: &str = "cohere/command-a-03-2025";

/// Every case, with and without streaming.
const CASES: [Case; 23] = [
    plain("plain Envoy", false),
    case("OpenAI, passed through", OPENAI, false),
    case("OpenAI to Anthropic", ANTHROPIC, false),
    case("OpenAI to Gemini", GEMINI, false),
    case("OpenAI to Bedrock, signed", BEDROCK, false),
    case("OpenAI to Cohere", COHERE, false),
    case("alias with a fallback", "smart", false),
    case("OpenAI, routed from the cache", "routed", false),
    case("OpenAI, by an alias with limits", "limited", false),
    of(
        Api::MESSAGES,
        case("Messages, passed through", ANTHROPIC, false),
    ),
    of(Api::MESSAGES, case("Messages to OpenAI", OPENAI, false)),
    of(
        Api::RESPONSES,
        case("Responses to Anthropic", ANTHROPIC, false),
    ),
    plain("plain Envoy, SSE", true),
    case("OpenAI, SSE", OPENAI, true),
    case("OpenAI to Anthropic, SSE", ANTHROPIC, true),
    case("OpenAI to Gemini, SSE", GEMINI, true),
    case("OpenAI to Bedrock, signed, event stream", BEDROCK, true),
    case("OpenAI to Cohere, SSE", COHERE, true),
    case("alias with a fallback, SSE", "smart", true),
    case("OpenAI, routed from the cache, SSE", "routed", true),
    of(
        Api::MESSAGES,
        case("Messages, passed through, SSE", ANTHROPIC, true),
    ),
    of(Api::MESSAGES, case("Messages to OpenAI, SSE", OPENAI, true)),
    of(
        Api::RESPONSES,
        case("Responses to Anthropic, SSE", ANTHROPIC, true),
    ),
];

const fn case(name: &'static str, model: &'static str, stream: bool) -> Case {
    Case {
        name,
        way: Way::Gateway(0),
        api: Api::CHAT_COMPLETIONS,
        model,
        stream,
    }
}

const fn plain(name: &'static str, stream: bool) -> Case {
    Case {
        way: Way::Plain,
        ..case(name, "gpt-4o-mini", stream)
    }
}

const fn of(api: Api, case: Case) -> Case {
    Case { api, ..case }
}

pub fn run(workspace: &Workspace, what: &Benchmark) -> Result<()> {
    match what {
        Benchmark::Gateway(options) => gateway(workspace, options),
        Benchmark::Router => router::run(workspace),
    }
}

fn gateway(workspace: &Workspace, options: &BenchOptions) -> Result<()> {
    let setup = Setup::start(workspace, &options.filters)?;
    let duration = Duration::from_secs_f64(options.seconds);
    let cases = options.cases();
    let mut order: Vec<usize> = (0..cases.len()).collect();
    let mut samples: Vec<Vec<Sample>> = cases.iter().map(|_| Vec::new()).collect();
    let mut first_chunks: Vec<Vec<Duration>> = cases.iter().map(|_| Vec::new()).collect();
    for round in 0..=options.rounds {
        fastrand::shuffle(&mut order);
        for (done, &index) in order.iter().enumerate() {
            let case = &cases[index];
            let load = Load {
                address: setup.address(case.way),
                path: case.api.path(),
                body: upstream::request(case.api, case.model, case.stream, options.body_kb),
                pid: setup.envoy(case.way),
            };
            let (rounds, count) = (options.rounds, cases.len());
            eprint!(
                "\rround {round} of {rounds}: case {done} of {count}, {:40}",
                case.name
            );
            let sample = load.run(options.connections, duration)?;
            // The first round is a warm-up.
            if round > 0 {
                samples[index].push(sample);
                if case.stream {
                    first_chunks[index].extend(load.first_chunks(200)?);
                }
            }
        }
    }
    eprintln!("\r{:80}", "");
    let names: Vec<&str> = options
        .filters
        .iter()
        .map(|filter| filter.name.as_str())
        .collect();
    println!("Processor: {}\n", cpu::model()?);
    println!(
        "{}",
        report::table(&cases, &names, &samples, &mut first_chunks)
    );
    Ok(())
}

/// Returns a case through each build of the filter.
fn for_each_filter(case: &Case, options: &BenchOptions) -> Vec<Case> {
    match case.way {
        Way::Plain => vec![case.clone()],
        Way::Gateway(_) => (0..=options.filters.len())
            .map(|number| Case {
                way: Way::Gateway(number),
                ..case.clone()
            })
            .collect(),
    }
}
