//! The store that the configuration names.

use std::sync::Arc;

use anyhow::Context as _;

use crate::config;
use crate::store::{ClickHouse, Sqlite, Store};

const SECONDS_A_DAY: u64 = 24 * 3600;
/// ClickHouse's times end in 2106, and what is beyond them begins anew in 1970: rows would go at once.
const MAX_DAYS: u64 = 50 * 365;

/// Opens the store and brings its tables to this version. A server that is away holds up nobody: traces wait in the journal.
pub async fn open(config: &config::Store) -> anyhow::Result<Arc<dyn Store>> {
    let Some(clickhouse) = &config.clickhouse else {
        return Ok(Arc::new(sqlite(config)?));
    };
    let store = server(config, &clickhouse.value)?;
    if let Err(error) = store.migrate().await {
        tracing::error!(
            "ClickHouse at {} can't be used yet: {error}",
            clickhouse.value.url
        );
    }
    Ok(Arc::new(store))
}

/// `opentracy migrate`: the tables, and nothing else.
pub async fn migrate(config: &config::Store) -> anyhow::Result<()> {
    match &config.clickhouse {
        None => drop(sqlite(config)?),
        Some(clickhouse) => server(config, &clickhouse.value)?
            .migrate()
            .await
            .with_context(|| format!("ClickHouse at {} can't be used", clickhouse.value.url))?,
    }
    println!("The tables are those of this version.");
    Ok(())
}

fn sqlite(config: &config::Store) -> anyhow::Result<Sqlite> {
    let path = config.path();
    Sqlite::open(&path)
        .with_context(|| format!("the trace store {} can't be opened", path.display()))
}

fn server(config: &config::Store, clickhouse: &config::ClickHouse) -> anyhow::Result<ClickHouse> {
    let password = clickhouse.password()?;
    let days = config.retention.as_secs().div_ceil(SECONDS_A_DAY);
    Ok(ClickHouse::new(
        clickhouse,
        password.as_deref(),
        days.clamp(1, MAX_DAYS),
    ))
}
