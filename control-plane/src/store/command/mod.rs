//! `opentracy store`: the store without a control plane.

mod check;
mod export;
mod repair;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;

use crate::config;

/// The exit code for a store that is damaged.
const DAMAGED: u8 = 2;

#[derive(Subcommand)]
pub enum Command {
    /// Check that the store is sound, and count what is in it. Exits with 2 if it is damaged.
    Check,
    /// Rescue what can be read of a damaged SQLite file into a new one. The old file is kept as `.damaged`.
    Repair {
        /// Also if the check finds nothing wrong.
        #[arg(long)]
        force: bool,
    },
    /// Write all traces that can be read as JSON lines, oldest first. Exits with 2 if some can't be read.
    Export {
        /// The file to write, which must not exist; without one, standard output.
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
}

pub fn run(path: Option<&Path>, command: Command) -> anyhow::Result<ExitCode> {
    let (config, _) = config::load(path).context("the configuration can't be used")?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?
        .block_on(async {
            match command {
                Command::Check => check::run(&config.store).await,
                Command::Repair { force } => repair::run(&config, force).await,
                Command::Export { output } => export::run(&config.store, output.as_deref()).await,
            }
        })
}

/// The SQLite file of a configuration. An error if it is not there.
fn file(config: &config::Store) -> anyhow::Result<PathBuf> {
    let path = config.path();
    std::fs::metadata(&path).with_context(|| {
        format!(
            "there is no store at {}; `store.path` says where it is",
            path.display()
        )
    })?;
    Ok(path)
}
