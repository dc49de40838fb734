//! Records on their way: from the filter into the journal, and from the journal into the store.
//!
//! A sender has its answer when the journal is on disk. What follows, at the store's own pace, is [`drain`].

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentracy_proto::v1;
use prost::Message as _;
use tokio::sync::{mpsc, watch};

use crate::background::Background;
use crate::journal::{self, Bookmark, Journal, JournalError, Position, Reader};
use crate::store::{self, Record, Store, StoreError};

/// What the store is given at once. Larger pieces are written faster, smaller ones wait less in memory.
const BATCH_BYTES: usize = 8 << 20;
/// Between two tries of a store that refuses.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Where records are handed in.
#[derive(Clone)]
pub struct Ingest {
    journal: Journal,
    stored: watch::Receiver<Position>,
    observers: Observers,
    recent: Arc<Mutex<Recent>>,
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
    pub fn new(journal: Journal, stored: watch::Receiver<Position>, observers: Observers) -> Self {
        Self {
            journal,
            stored,
            observers,
            recent: Arc::default(),
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

    /// Waits until the store has all that was taken so far. `false` when it did not get there in time.
    pub async fn settled(&self, within: Duration) -> bool {
        let end = self.journal.end();
        let mut stored = self.stored.clone();
        let settled = stored.wait_for(|&position| position >= end);
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

/// Gives the store what the journal has, for as long as there is a journal. While the store writes, what comes next is read.
pub async fn drain(
    background: Background,
    reader: Reader,
    mut bookmark: Bookmark,
    store: Arc<dyn Store>,
    stored: watch::Sender<Position>,
    observers: Observers,
) {
    let (sender, mut pieces) = mpsc::channel(1);
    tokio::spawn(read(background, reader, sender));
    let mut outage = Outage::default();
    while let Some(piece) = pieces.recv().await {
        let Piece { batch, decoded } = piece;
        if !batch.payloads.is_empty() {
            let new = write(&*store, &batch.payloads, decoded, &mut outage).await;
            for observer in observers.iter() {
                observer.on_stored(&new);
            }
        }
        bookmark.advance(batch.end);
        stored.send_replace(batch.end);
    }
}

/// Some of the journal, and what it says.
struct Piece {
    batch: journal::Batch,
    decoded: store::Batch,
}

async fn read(background: Background, mut reader: Reader, pieces: mpsc::Sender<Piece>) {
    loop {
        let read = background.run(move || {
            let batch = reader.next(BATCH_BYTES);
            let decoded = decode(&batch.payloads);
            (reader, Piece { batch, decoded })
        });
        let Ok((back, piece)) = read.await else {
            return;
        };
        reader = back;
        let was_all = piece.batch.payloads.is_empty();
        if pieces.send(piece).await.is_err() || (was_all && !reader.wait().await) {
            return;
        }
    }
}

/// Gives the store some payloads, however often it takes, and says what of them is new.
async fn write(
    store: &dyn Store,
    payloads: &[Vec<u8>],
    mut decoded: store::Batch,
    outage: &mut Outage,
) -> Vec<Record> {
    loop {
        match store.write(decoded).await {
            Ok(new) => {
                outage.over();
                return new;
            }
            Err(error) => {
                outage.note(&error);
                tokio::time::sleep(RETRY_EVERY).await;
                decoded = decode(payloads);
            }
        }
    }
}

fn decode(payloads: &[Vec<u8>]) -> store::Batch {
    let mut batch = store::Batch::default();
    for payload in payloads {
        match v1::IngestRequest::decode(payload.as_slice()) {
            Ok(request) => batch.add(request),
            Err(error) => tracing::error!("a record in the journal can't be read: {error}"),
        }
    }
    batch
}

/// Says once that the store refuses, and once that it takes again.
#[derive(Default)]
struct Outage {
    since: Option<Instant>,
}

impl Outage {
    fn note(&mut self, error: &StoreError) {
        if self.since.is_none() {
            tracing::error!("the store does not take traces, they wait in the journal: {error}");
            self.since = Some(Instant::now());
        }
    }

    fn over(&mut self) {
        if let Some(since) = self.since.take() {
            let seconds = since.elapsed().as_secs();
            tracing::info!("the store takes traces again, after {seconds} s; none was lost");
        }
    }
}
