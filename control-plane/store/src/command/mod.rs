//! Runs `opentracy store`: works on the store without a control plane.

mod check;
mod export;
mod repair;
mod rescue;
#[cfg(test)]
mod rescue_tests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;

use opentracy_config as config;

/// The exit code for a damaged store.
const DAMAGED: u8 = 2;

#[derive(Subcommand)]
pub enum StoreCommand {
    /// Check the store for damage and count its rows. Exits with 2 if it is damaged.
    Check,
    /// Rescue the readable rows of a damaged SQLite file into a new one. The old file is kept as
    /// `.damaged`.
    Repair {
        /// Repair even if the check finds no damage.
        #[arg(long)]
        force: bool,
    },
    /// Write all readable traces as JSON lines, oldest first. Exits with 2 if some can't be read.
    Export {
        /// The output file, which must not exist yet. Default: standard output.
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
}

/// Runs a command. `lock_journal` locks the journal in a folder, or fails if a control plane uses
/// it: the control plane also uses the store until then.
pub fn run(
    path: Option<&Path>,
    command: StoreCommand,
    lock_journal: impl FnOnce(&Path) -> anyhow::Result<File>,
) -> anyhow::Result<ExitCode> {
    let (config, _) = config::load(path).context("the configuration can't be used")?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?
        .block_on(async {
            match command {
                StoreCommand::Check => check::run(&config.store).await,
                StoreCommand::Repair { force } => repair::run(&config, force, lock_journal).await,
                StoreCommand::Export { output } => {
                    export::run(&config.store, output.as_deref()).await
                }
            }
        })
}

/// Returns the path of the configured SQLite file, or an error if it doesn't exist.
fn file(config: &config::StoreConfig) -> anyhow::Result<PathBuf> {
    let path = config.path();
    std::fs::metadata(&path).with_context(|| {
        format!(
            "the store {} does not exist; check `store.path`",
            path.display()
        )
    })?;
    Ok(path)
}
