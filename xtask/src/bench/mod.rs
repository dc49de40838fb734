//! `cargo xtask bench gateway`: the cost of the gateway, as multiples of an Envoy without it.
//!
//! One worker of each Envoy is pinned to a core; the load generator, the providers and the control
//! plane have the others. CPU is that of the whole Envoy process, including traces, divided by the
//! number of requests: on a noisy machine it is stable where times aren't. The cases alternate,
//! round after round, so that noise affects all of them.

mod answers;
mod cpu;
mod load;
mod report;
mod router;
mod setup;
mod upstream;

use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use opentracy_translate::client::Api;

use crate::bench::load::{Load, Sample};
use crate::bench::setup::Setup;
use crate::workspace::Workspace;

/// The benchmark to run.
#[derive(Subcommand)]
pub enum What {
    /// The gateway, compared with an Envoy without it.
    Gateway(Options),
    /// The router: the value of its decisions, compared with simpler routers, and their cost.
    Router,
}

#[derive(Args)]
pub struct Options {
    /// Duration of each case per round, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Number of concurrent requests.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Run only the cases whose names contain this text.
    #[arg(long, default_value = "")]
    only: String,
}

/// The Envoy that a case goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Gateway,
}

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
        Api::Messages,
        case("Messages, passed through", ANTHROPIC, false),
    ),
    of(Api::Messages, case("Messages to OpenAI", OPENAI, false)),
    of(
        Api::Responses,
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
        Api::Messages,
        case("Messages, passed through, SSE", ANTHROPIC, true),
    ),
    of(Api::Messages, case("Messages to OpenAI, SSE", OPENAI, true)),
    of(
        Api::Responses,
        case("Responses to Anthropic, SSE", ANTHROPIC, true),
    ),
];

const fn case(name: &'static str, model: &'static str, stream: bool) -> Case {
    Case {
        name,
        way: Way::Gateway,
        api: Api::ChatCompletions,
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

pub fn run(workspace: &Workspace, what: &What) -> Result<()> {
    match what {
        What::Gateway(options) => gateway(workspace, options),
        What::Router => router::run(workspace),
    }
}

fn gateway(workspace: &Workspace, options: &Options) -> Result<()> {
    let setup = Setup::start(workspace)?;
    let duration = Duration::from_secs_f64(options.seconds);
    let cases: Vec<&Case> = CASES
        .iter()
        // The baseline of the comparison always runs.
        .filter(|case| case.way == Way::Plain || case.name.contains(&options.only))
        .collect();
    let mut samples: Vec<Vec<Sample>> = cases.iter().map(|_| Vec::new()).collect();
    let mut first_chunks: Vec<Vec<Duration>> = cases.iter().map(|_| Vec::new()).collect();
    for round in 0..=options.rounds {
        for (index, case) in cases.iter().enumerate() {
            let load = Load {
                address: setup.address(case.way),
                path: case.api.path(),
                body: upstream::request(case.api, case.model, case.stream),
                pid: setup.envoy(case.way),
            };
            eprint!("\rround {round} of {}: {:40}", options.rounds, case.name);
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
    eprintln!("\r{:60}", "");
    println!("{}", report::table(&cases, &samples, &mut first_chunks));
    Ok(())
}
