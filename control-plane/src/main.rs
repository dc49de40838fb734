//! `opentracy`: the process beside Envoy that configures the gateway, decides and remembers.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use opentracy::{check, envoy, serve};

#[derive(Parser)]
#[command(
    version,
    about = "The control plane of the OpenTracy gateway for Envoy"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The configuration file; without one, everything has its default.
    #[arg(long, env = "OPENTRACY_CONFIG", global = true)]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the control plane: gRPC for the filter, REST for people.
    Serve,
    /// Read the configuration and say what is wrong with it.
    Check,
    /// Bring the store's tables to this version. `serve` does so by itself.
    Migrate,
    /// Print an Envoy bootstrap for the configuration.
    EnvoyConfig {
        /// Where Envoy finds the filter.
        #[arg(long, default_value = "/etc/opentracy/opentracy_filter.wasm")]
        filter: PathBuf,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let path = cli.config.as_deref();
    let result = match cli.command {
        Command::Serve => serve::run(path),
        Command::Check => check::run(path),
        Command::Migrate => serve::migrate(path),
        Command::EnvoyConfig { filter } => envoy::print(path, &filter),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("opentracy: {error:#}");
            ExitCode::FAILURE
        }
    }
}
