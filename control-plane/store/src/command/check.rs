//! Runs `opentracy store check`.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::command::{DAMAGED, file};
use crate::history::SQLITE;
use crate::{open, sqlite};
use opentracy_config as config;

pub async fn run(config: &config::StoreConfig) -> anyhow::Result<ExitCode> {
    let Some(clickhouse) = &config.clickhouse else {
        let path = file(config)?;
        println!("{}", path.display());
        let found = sqlite::inspect::inspect(&path, &SQLITE)
            .with_context(|| format!("{} can't be opened", path.display()))?;
        if let Some(schema) = found.schema {
            println!("  schema {schema} of {}", SQLITE.newest());
        }
        return Ok(conclude(
            &found.counts,
            &found.problems,
            "stop the control plane and run `opentracy store repair`",
        ));
    };
    let store = open::server(config, &clickhouse.value)?;
    let url = &clickhouse.value.url;
    println!("ClickHouse at {url}");
    let found = store
        .inspect()
        .await
        .with_context(|| format!("ClickHouse at {url} can't be checked"))?;
    println!("  schema {} of {}", found.schema, found.newest_schema);
    Ok(conclude(
        &found.counts,
        &found.problems,
        "ClickHouse restores parts from a replica or a backup; `opentracy store export` writes the readable traces",
    ))
}

fn conclude(counts: &[(&str, u64)], problems: &[String], advice: &str) -> ExitCode {
    for (table, count) in counts {
        println!("  {count} rows in {table}");
    }
    if problems.is_empty() {
        println!("The store is sound.");
        return ExitCode::SUCCESS;
    }
    for problem in problems {
        println!("  damaged: {problem}");
    }
    println!("The store is damaged: {advice}.");
    ExitCode::from(DAMAGED)
}
