//! Developer commands: `cargo xtask run`, `cargo xtask test`, …

mod catalog;
mod process;

use std::path::Path;

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the price catalog anew from its published source.
    Catalog,
}

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    match Cli::parse().command {
        Command::Catalog => catalog::make(root),
    }
}
