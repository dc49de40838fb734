//! `opentracy`: the process beside Envoy that configures the gateway, routes requests and stores
//! traces.
//!
//! [`opentracy_config`] is the operator's configuration and the filter's view of it, and
//! [`opentracy_envoy`] Envoy's configuration. [`opentracy_server`] serves the filter, and the
//! people and applications that call [`rest`]. [`opentracy_ingest`] moves traces through its
//! journal into the store of [`opentracy_store`], [`opentracy_spend`] prices and limits them, and
//! [`opentracy_routing`] orders candidates.

mod check;
mod rest;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use opentracy_base::secure_fs;
use opentracy_config::client_keys;
use opentracy_envoy as envoy;
use opentracy_ingest::journal;
use opentracy_routing as routing;
use opentracy_server::serve;
use opentracy_spend::prices::InForce;
use opentracy_state::resources;
use opentracy_store::{self as store, Filter, Micros};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Enables the allocator's heap profiler, which stays inactive until a profile is requested.
#[expect(
    unsafe_code,
    reason = "the allocator looks for its settings by this name"
)]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8] = b"prof:true,prof_active:false,lg_prof_sample:19\0";

#[derive(Parser)]
#[command(
    version,
    about = "The control plane of the OpenTracy gateway for Envoy"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The configuration file; without one, all settings have their defaults.
    #[arg(long, env = "OPENTRACY_CONFIG", global = true)]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the control plane: gRPC for the filter, REST for people.
    Serve,
    /// Validate the configuration and print every problem.
    Check {
        /// The form of the report.
        #[arg(long, value_enum, default_value_t)]
        format: check::CheckFormat,
    },
    /// Migrate the store's tables to this version. `serve` does so by itself.
    Migrate,
    /// Reprice stored traces.
    Reprice {
        /// Only traces of this model, with or without its provider.
        #[arg(long)]
        model: Option<String>,
        /// Only traces that started at this time or later, such as 2026-11-21T08:00:00Z.
        #[arg(long, value_parser = time)]
        since: Option<Micros>,
        /// Only traces that started before this time.
        #[arg(long, value_parser = time)]
        until: Option<Micros>,
        /// The prices to apply.
        #[arg(long, value_enum, default_value_t)]
        prices: InForce,
    },
    /// Create, fetch and activate the packs that the router has learned.
    Router {
        #[command(subcommand)]
        command: routing::command::RoutingCommand,
    },
    /// Check, repair or export the store.
    Store {
        #[command(subcommand)]
        command: store::command::StoreCommand,
    },
    /// Create, list, update, rotate and revoke client keys.
    Keys {
        #[command(subcommand)]
        command: client_keys::command::KeyCommand,
    },
    /// List the owners of the providers' files and batches, and assign those without one to a key.
    Resources {
        #[command(subcommand)]
        command: resources::command::ResourceCommand,
    },
    /// Print an Envoy bootstrap for the configuration. It holds a secret: keep it private.
    EnvoyConfig {
        /// The form of the filter.
        #[arg(
            long,
            value_enum,
            default_value = "wasm",
            env = "OPENTRACY_FILTER_KIND"
        )]
        filter_kind: envoy::FilterKind,
        /// Path at which Envoy finds the filter; by default `/etc/opentracy/opentracy_filter.wasm`,
        /// or `/etc/opentracy/libopentracy_filter_native.so` for a native one.
        #[arg(long)]
        filter: Option<PathBuf>,
        /// The bootstrap of an Envoy that serves other applications, to which the gateway is added.
        #[arg(long, requires = "listener")]
        into: Option<PathBuf>,
        /// The listener of that Envoy for applications.
        #[arg(long, requires = "into")]
        listener: Option<String>,
    },
}

fn time(text: &str) -> Result<Micros, String> {
    let time = text.parse::<jiff::Timestamp>();
    time.map(|time| Micros(time.as_microsecond()))
        .map_err(|_| "write a time such as 2026-11-21T08:00:00Z".to_owned())
}

fn main() -> ExitCode {
    // Applies to every new file: the database and what SQLite puts beside it, the journal, packs,
    // keys.
    secure_fs::restrict_new_files();
    let cli = Cli::parse();
    let path = cli.config.as_deref();
    let result = match cli.command {
        Command::Serve => serve::run(path, rest::router),
        Command::Check { format } => check::run(path, format),
        Command::Migrate => serve::migrate(path),
        Command::Reprice {
            model,
            since,
            until,
            prices,
        } => {
            let filter = Filter {
                model,
                since,
                until,
                ..Filter::default()
            };
            serve::reprice(path, filter, prices)
        }
        Command::Store { command } => match store::command::run(path, command, journal::lock) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Router { command } => routing::command::run(path, command),
        Command::Keys { command } => client_keys::command::run(command),
        Command::EnvoyConfig {
            filter_kind,
            filter,
            into,
            listener,
        } => {
            let host = into
                .zip(listener)
                .map(|(bootstrap, listener)| envoy::HostEnvoy {
                    bootstrap,
                    listener,
                });
            let filter = filter.unwrap_or_else(|| filter_kind.default_path().into());
            envoy::command::run(path, filter_kind, &filter, host.as_ref())
        }
        Command::Resources { command } => resources::command::run(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("opentracy: {error:#}");
            ExitCode::FAILURE
        }
    }
}
