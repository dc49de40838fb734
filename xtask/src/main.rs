//! Developer commands. `cargo xtask run` starts the product, `cargo xtask test` runs every test.

mod bench;
mod catalog;
mod check;
mod embedder;
mod envoy;
mod filter;
mod golden;
mod lint_words;
mod process;
mod processes;
mod prose;
mod python;
mod run;
mod test;
mod wasm;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::filter::FilterBuild;
use crate::workspace::Workspace;

#[derive(Parser)]
#[command(about = "Developer commands of OpenTracy")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Set up and start the gateway: control plane and Envoy.
    Run {
        /// The configuration file; by default `opentracy.yaml` in the working directory, if it
        /// exists.
        #[arg(long, env = "OPENTRACY_CONFIG")]
        config: Option<PathBuf>,
        /// Run without semantic routing: neither the embedding model nor its runtime is downloaded.
        #[arg(long)]
        no_router: bool,
        /// The form of the filter.
        #[arg(long, value_enum, default_value_t)]
        filter: FilterBuild,
    },
    /// Set up and run every test.
    Test {
        /// The form of the filter in the end-to-end tests.
        #[arg(long, value_enum, default_value_t)]
        filter: FilterBuild,
    },
    /// Set up and run end-to-end tests; rebuilds only what is stale.
    E2e {
        /// The form of the filter. It comes before the arguments for pytest.
        #[arg(long, value_enum, default_value_t)]
        filter: FilterBuild,
        /// Arguments for pytest, such as `-k fallback` or `e2e/test_chat.py`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        pytest: Vec<String>,
    },
    /// Run all checks that a change must pass, apart from the tests.
    Check,
    /// Show how the translation differs from its golden files.
    Golden {
        /// Overwrite the files with the current output.
        #[arg(long)]
        accept: bool,
    },
    /// Run a benchmark and print ratios.
    Bench {
        #[command(subcommand)]
        what: bench::Benchmark,
    },
    /// Build the filter and print its path.
    Wasm,
    /// Download the embedding model and its runtime, and print their path.
    Embedder,
    /// Check the language of comments, messages and documents.
    LintWords,
    /// Regenerate the price catalog from its published source.
    Catalog,
}

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    match command {
        Command::Run {
            config,
            no_router,
            filter,
        } => run::run(&workspace, config, no_router, filter),
        Command::Test { filter } => test::run(&workspace, filter),
        Command::E2e { filter, pytest } => test::run_e2e(&workspace, filter, &pytest),
        Command::Check => check::run(&workspace),
        Command::Golden { accept } => golden::run(&workspace, accept),
        Command::Bench { what } => bench::run(&workspace, &what),
        Command::Wasm => {
            println!("{}", wasm::build(&workspace, &[])?.display());
            Ok(())
        }
        Command::Embedder => {
            println!("{}", embedder::find(&workspace)?.display());
            Ok(())
        }
        Command::LintWords => lint_words::run(&workspace),
        Command::Catalog => catalog::make(&workspace.root),
    }
}
