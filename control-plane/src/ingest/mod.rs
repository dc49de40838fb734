//! Records on their way: from the filter into the journal, and from the journal into the store.
//!
//! A sender has its answer when the journal is on disk. What follows, at the store's own pace, is [`Drain`].

pub mod bounds;
mod dead_letters;
mod drain;
pub mod journal;
mod store_state;

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentracy_proto::v1;
use prost::Message as _;
use tokio::sync::watch;

use crate::ingest::journal::{Figures, Journal, JournalError, Progress};
use crate::store::Record;

pub use dead_letters::DeadLetters;
pub use drain::Drain;
pub use store_state::{StoreFigures, StoreState};

/// Where records are handed in.
#[derive(Clone)]
pub struct Ingest {
    journal: Journal,
    stored: watch::Receiver<Progress>,
    observers: Observers,
    recent: Arc<Mutex<Recent>>,
    store_state: StoreState,
}

/// The ids of the last records: what is sent again, because its acknowledgement was lost, is told to nobody twice.
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

    /// Keeps records of calls that were just made. When this returns, they are on disk.
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

    /// Keeps records of calls that were made elsewhere, or long ago.
    pub async fn import(&self, request: &v1::IngestRequest) -> Result<(), JournalError> {
        self.journal.append(request.encode_to_vec()).await
    }

    /// Bytes that the store has not taken.
    pub fn backlog_bytes(&self) -> u64 {
        self.journal.backlog_bytes()
    }

    /// The state of the journal.
    pub fn journal_figures(&self) -> &Figures {
        self.journal.figures()
    }

    /// The state of writes to the store.
    pub fn store_figures(&self) -> StoreFigures {
        self.store_state.figures()
    }

    /// Waits until the store has all that was taken so far. `false` when it did not get there in time.
    pub async fn settled(&self, within: Duration) -> bool {
        let end = self.journal.end();
        let mut stored = self.stored.clone();
        let settled = stored.wait_for(|progress| progress.covers(end));
        tokio::time::timeout(within, settled)
            .await
            .is_ok_and(|found| found.is_ok())
    }
}

/// Whoever wants to know of records.
pub trait Observer: Send + Sync {
    /// Calls were made.
    fn on_taken(&self, _request: &v1::IngestRequest) {}

    /// The store has new records. Each is told once.
    fn on_stored(&self, _records: &[Record]) {}
}

pub type Observers = Arc<[Arc<dyn Observer>]>;
