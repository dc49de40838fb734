//! Runs `opentracy store repair`.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;

use crate::command::{file, rescue};
use crate::history::SQLITE;
use crate::sqlite::inspect;
use opentracy_config::Config;

pub async fn run(
    config: &Config,
    force: bool,
    lock_journal: impl FnOnce(&Path) -> anyhow::Result<File>,
) -> anyhow::Result<ExitCode> {
    if config.store.clickhouse.is_some() {
        bail!(
            "ClickHouse repairs its own tables, from replicas or a backup; `opentracy store check` lists damaged parts, and `opentracy store export` writes the readable traces"
        );
    }
    let path = file(&config.store)?;
    // A control plane locks its journal while it runs, and uses the store until then.
    let folder = config.journal.path();
    let _journal = match folder.exists() {
        true => Some(lock_journal(&folder)?),
        false => None,
    };
    if !force && inspect::inspect(&path, &SQLITE).is_ok_and(|found| found.problems.is_empty()) {
        println!("{} is sound: there is nothing to repair.", path.display());
        return Ok(ExitCode::SUCCESS);
    }
    let (rescued, kept) = rescue::repair(&path).await?;
    println!("{}", path.display());
    let others = rescued.others.iter();
    let others: String = others
        .map(|(rows, count)| format!(", {count} {rows}"))
        .collect();
    println!(
        "  rescued {} traces, {} attempts{others}",
        rescued.traces, rescued.attempts
    );
    println!(
        "  of {} pages, {} were not fully readable",
        rescued.pages.total, rescued.pages.damaged
    );
    if rescued.refused > 0 {
        println!("  the new file rejected {} rows", rescued.refused);
    }
    println!(
        "The store is sound; the damaged file was kept as {}.",
        kept.display()
    );
    Ok(ExitCode::SUCCESS)
}
