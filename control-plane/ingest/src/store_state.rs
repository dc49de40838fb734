//! The state of writes to the store, for `/health`, `/statsz` and `/metrics`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;
use serde::Serialize;
use utoipa::ToSchema;

use opentracy_base::clock;
use opentracy_base::health::{HealthCode, HealthRegistry};
use opentracy_store::Micros;

/// The state of writes. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct StoreState {
    /// Failed writes.
    pub write_errors: Counter,
    /// Records moved to the dead-letter file.
    pub dead_letters: Counter,
    outage: Arc<Mutex<Outage>>,
}

#[derive(Debug, Default)]
struct Outage {
    since: Option<Micros>,
    last_error: Option<(Micros, String)>,
}

/// The state of writes, as `/statsz` shows it.
#[derive(Debug, Serialize, ToSchema)]
pub struct StoreFigures {
    /// `true` unless writes currently fail.
    is_writable: bool,
    /// RFC 3339: start of the current outage; `null` while writes succeed.
    failing_since: Option<String>,
    /// The last error, even if its outage is over.
    last_write_error: Option<String>,
    /// RFC 3339.
    last_write_error_at: Option<String>,
    /// Failed writes since the start.
    write_errors: u64,
    /// Records moved to the dead-letter file since the start, because the store rejected their
    /// content.
    dead_letters: u64,
}

impl StoreState {
    pub fn figures(&self) -> StoreFigures {
        let outage = self.outage();
        let (at, error) = outage.last_error.clone().unzip();
        StoreFigures {
            is_writable: outage.since.is_none(),
            failing_since: outage.since.map(Micros::timestamp),
            last_write_error: error,
            last_write_error_at: at.map(Micros::timestamp),
            write_errors: self.write_errors.get(),
            dead_letters: self.dead_letters.get(),
        }
    }

    /// Records a write that failed or that takes too long.
    pub fn failed(&self, health: &HealthRegistry, error: &str) {
        self.write_errors.inc();
        let mut outage = self.outage();
        outage.since.get_or_insert_with(clock::now);
        outage.last_error = Some((clock::now(), error.to_owned()));
        let message = format!("the store can't be written, traces wait in the journal: {error}");
        if health.report(HealthCode::StoreWrite, "", &message) {
            tracing::error!(event = "store_write_failing", "{message}");
        }
    }

    /// Records a successful write.
    pub fn succeeded(&self, health: &HealthRegistry) {
        // Also resolves the fault of a store that could not be opened at the start, which has no
        // outage.
        health.resolve(HealthCode::StoreWrite, "");
        let Some(since) = self.outage().since.take() else {
            return;
        };
        let seconds = (clock::now().0 - since.0) / 1_000_000;
        tracing::info!("the store can be written again after {seconds} s; no trace was lost");
    }

    fn outage(&self) -> MutexGuard<'_, Outage> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
