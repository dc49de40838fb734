//! Opens the store that the configuration names.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use crate::history::{CLICKHOUSE, SQLITE};
use crate::{ClickHouse, Sqlite, Store, sqlite};
use opentracy_base::health::{HealthCode, HealthRegistry};
use opentracy_config as config;

const SECONDS_A_DAY: u64 = 24 * 3600;
/// ClickHouse's times end in 2106; later ones wrap to 1970, so the rows would expire immediately.
const MAX_DAYS: u64 = 50 * 365;

/// Opens the store and migrates its tables to this version.
///
/// An unreachable server or a damaged file doesn't block the start: traces wait in the journal.
pub async fn open(
    config: &config::StoreConfig,
    health: &HealthRegistry,
) -> anyhow::Result<Arc<dyn Store>> {
    let health = health.clone();
    let Some(clickhouse) = &config.clickhouse else {
        return match file(config) {
            Ok(store) => Ok(Arc::new(store.watched(health))),
            Err(error) if is_fault(&error) => {
                tracing::error!(
                    event = "store_write_failing",
                    "{error:#}; traces wait in the journal"
                );
                // `/health` may be public, so the message contains no path.
                let message = format!(
                    "the store can't be opened, traces wait in the journal: {}; run `opentracy store check` for details",
                    error.root_cause()
                );
                health.report(HealthCode::StoreWrite, "", message);
                let store = Sqlite::unopened(config.path(), &SQLITE);
                Ok(Arc::new(store.watched(health)))
            }
            Err(error) => Err(error),
        };
    };
    let store = server(config, &clickhouse.value)?;
    if let Err(error) = store.migrate().await {
        tracing::error!(
            "ClickHouse at {} can't be used yet: {error}",
            clickhouse.value.url
        );
    }
    Ok(Arc::new(store.watched(health)))
}

/// Returns `true` if a file can't be opened because of its state rather than the configuration.
fn is_fault(error: &anyhow::Error) -> bool {
    let mut causes = error.chain();
    causes.any(|cause| {
        cause
            .downcast_ref::<rusqlite::Error>()
            .is_some_and(sqlite::is_fault)
    })
}

/// Runs `opentracy migrate`: migrates the tables, and does nothing else.
pub async fn migrate(config: &config::StoreConfig) -> anyhow::Result<()> {
    match &config.clickhouse {
        None => drop(file(config)?),
        Some(clickhouse) => server(config, &clickhouse.value)?
            .migrate()
            .await
            .with_context(|| format!("ClickHouse at {} can't be used", clickhouse.value.url))?,
    }
    println!("The tables are at this version.");
    Ok(())
}

impl Sqlite {
    /// Opens a file with the tables of all resources, or creates it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        Self::open_with(path, &SQLITE)
    }
}

fn file(config: &config::StoreConfig) -> anyhow::Result<Sqlite> {
    let path = config.path();
    Sqlite::open(&path)
        .with_context(|| format!("the trace store {} can't be opened", path.display()))
}

pub(crate) fn server(
    config: &config::StoreConfig,
    clickhouse: &config::ClickHouseConfig,
) -> anyhow::Result<ClickHouse> {
    let password = clickhouse.password()?;
    let days = config.retention.as_secs().div_ceil(SECONDS_A_DAY);
    Ok(ClickHouse::new(
        clickhouse,
        password.as_deref(),
        days.clamp(1, MAX_DAYS),
        &CLICKHOUSE,
    ))
}
