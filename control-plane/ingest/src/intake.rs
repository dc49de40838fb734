//! Acceptance of records, into the journal.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentracy_proto::v1;
use prost::Message as _;
use tokio::sync::watch;

use crate::journal::{Journal, JournalCounters, JournalError, Progress};
use crate::observer::Observers;
use crate::store_state::{StoreFigures, StoreState};

/// The entry point for records.
#[derive(Clone)]
pub struct Ingest {
    journal: Journal,
    stored: watch::Receiver<Progress>,
    observers: Observers,
    recent: Arc<Mutex<Recent>>,
    store_state: StoreState,
}

/// The ids of recent records. A record that is sent again, because its acknowledgment was lost,
/// doesn't reach the observers twice.
#[derive(Default)]
struct Recent {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Recent {
    const MAX: usize = 20_000;

    fn is_new(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > Self::MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

impl Ingest {
    pub fn new(
        journal: Journal,
        stored: watch::Receiver<Progress>,
        observers: Observers,
        store_state: StoreState,
    ) -> Self {
        Self {
            journal,
            stored,
            observers,
            recent: Arc::default(),
            store_state,
        }
    }

    /// Takes records of calls that were just made. On return, they are on disk.
    pub async fn take(&self, mut request: v1::IngestRequest) -> Result<(), JournalError> {
        self.import(&request).await?;
        {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            request.traces.retain(|trace| recent.is_new(&trace.id));
            request.attempts.retain(|attempt| {
                recent.is_new(&format!("{}/{}", attempt.trace_id, attempt.number))
            });
        }
        for observer in self.observers.iter() {
            observer.on_taken(&request);
        }
        Ok(())
    }

    /// Takes records of calls that were made elsewhere or long ago, without notifying observers.
    pub async fn import(&self, request: &v1::IngestRequest) -> Result<(), JournalError> {
        self.journal.append(request.encode_to_vec()).await
    }

    /// Returns the number of bytes that are not yet in the store.
    pub fn backlog_bytes(&self) -> u64 {
        self.journal.backlog_bytes()
    }

    /// Returns the journal's counters.
    pub fn journal_figures(&self) -> &JournalCounters {
        self.journal.figures()
    }

    /// Returns the state of writes to the store.
    pub fn store_figures(&self) -> StoreFigures {
        self.store_state.figures()
    }

    /// Waits until the store has all records taken so far. Returns `false` on timeout.
    pub async fn settled(&self, within: Duration) -> bool {
        let end = self.journal.end();
        let mut stored = self.stored.clone();
        let settled = stored.wait_for(|progress| progress.covers(end));
        tokio::time::timeout(within, settled)
            .await
            .is_ok_and(|found| found.is_ok())
    }
}
