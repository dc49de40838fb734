//! Moves records from the journal to the store, at the store's own pace.
//!
//! If a write fails, it is retried until it succeeds. A record that a working store rejects because
//! of its content, such as a constraint violation, is isolated by halving the batch, and moved to
//! the dead-letter file.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use opentracy_proto::v1;
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::dead_letters::{DeadLetters, Letter};
use crate::journal::{self, Bookmark, Progress, Reader};
use crate::observer::Observers;
use crate::store_state::StoreState;
use opentracy_base::health::HealthRegistry;
use opentracy_base::worker_thread::Background;
use opentracy_store::{self as store, Attempt, Record, Store, StoreError, Words};

/// Bytes in one write. Larger batches are faster, smaller ones use less memory.
const BATCH_BYTES: usize = 8 << 20;
/// Time between retries of a failed write.
const RETRY_EVERY: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 1000 });
/// A slower write is reported as a fault, but not canceled.
const SLOW_WRITE: Duration = Duration::from_secs(30);
/// The interval between checks of the dead-letter file.
const REFRESH_EVERY: Duration = Duration::from_secs(2);

/// The destination of the journal's records.
pub struct Drain {
    pub store: Arc<dyn Store>,
    pub observers: Observers,
    pub health: HealthRegistry,
    pub state: StoreState,
    pub dead_letters: DeadLetters,
}

impl Drain {
    /// Starts the task that moves records until the journal closes.
    pub fn start(
        self,
        background: Background,
        reader: Reader,
        bookmark: Bookmark,
        stored: watch::Sender<Progress>,
    ) {
        tokio::spawn(self.run(background, reader, bookmark, stored));
    }

    /// Moves records until the journal closes. Reads the next batch while the store writes.
    async fn run(
        self,
        background: Background,
        reader: Reader,
        mut bookmark: Bookmark,
        stored: watch::Sender<Progress>,
    ) {
        let (sender, mut pieces) = mpsc::channel(1);
        tokio::spawn(read(background, reader, sender));
        let mut refresh = tokio::time::interval(REFRESH_EVERY);
        loop {
            let piece = tokio::select! {
                piece = pieces.recv() => piece,
                _ = refresh.tick() => {
                    self.dead_letters.refresh();
                    continue;
                }
            };
            let Some(Piece { batch, decoded }) = piece else {
                return;
            };
            if !batch.payloads.is_empty() {
                let new = self.store(&batch.payloads, decoded).await;
                for observer in self.observers.iter() {
                    observer.on_stored(&new);
                }
            }
            bookmark.advance(&batch.progress);
            stored.send_replace(batch.progress);
        }
    }

    /// Stores payloads, with as many retries as needed, and returns those of their records that are
    /// new.
    async fn store(&self, payloads: &[Vec<u8>], decoded: Decoded) -> Vec<Record> {
        for refused in &decoded.refused {
            self.put_aside(Letter::Payload(&refused.bytes), &refused.error)
                .await;
        }
        match self.write(decoded.batch).await {
            Ok(new) => return new,
            Err(error) if error.is_about_records() => {}
            Err(_) => tokio::time::sleep(RETRY_EVERY).await,
        }
        self.store_units(&units(payloads)).await
    }

    /// Stores all units that the store accepts, and moves the others to the dead-letter file.
    async fn store_units(&self, units: &[Unit]) -> Vec<Record> {
        let mut new = Vec::new();
        let mut open: Vec<Range<usize>> = std::iter::once(0..units.len()).collect();
        while let Some(range) = open.pop() {
            let part = units.get(range.clone()).unwrap_or_default();
            match self.write(batch_of(part)).await {
                Ok(records) => new.extend(records),
                Err(error) if error.is_about_records() => match part {
                    [] => {}
                    [unit] => self.put_aside(unit.letter(), &error.to_string()).await,
                    _ => open.extend(halves(&range)),
                },
                Err(_) => {
                    tokio::time::sleep(RETRY_EVERY).await;
                    open.push(range);
                }
            }
        }
        new
    }

    async fn write(&self, batch: store::Batch) -> Result<Vec<Record>, StoreError> {
        let mut writing = self.store.write(batch);
        let written = loop {
            match tokio::time::timeout(SLOW_WRITE, &mut writing).await {
                Ok(written) => break written,
                Err(_) => {
                    let seconds = SLOW_WRITE.as_secs();
                    let error = format!("a write has taken longer than {seconds} s");
                    self.state.failed(&self.health, &error);
                }
            }
        };
        match &written {
            Ok(_) => self.state.succeeded(&self.health),
            // The store itself works.
            Err(error) if error.is_about_records() => {}
            Err(error) if error.is_damage() => {
                let error = format!("{error}; run `opentracy store check` for details");
                self.state.failed(&self.health, &error);
            }
            Err(error) => self.state.failed(&self.health, &error.to_string()),
        }
        written
    }

    /// Moves a rejected record to the dead-letter file. Blocks the drain until that succeeds.
    async fn put_aside(&self, letter: Letter<'_>, error: &str) {
        while let Err(failure) = self.dead_letters.add(letter, error) {
            let error = format!(
                "the store rejected a record ({error}), and the dead-letter file can't be written: {failure}"
            );
            self.state.failed(&self.health, &error);
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }
}

fn halves(range: &Range<usize>) -> [Range<usize>; 2] {
    let middle = range.start + range.len() / 2;
    // The last element is popped first.
    [middle..range.end, range.start..middle]
}

/// A decoded batch of the journal.
struct Piece {
    batch: journal::JournalBatch,
    decoded: Decoded,
}

/// Payloads in the form that the store accepts.
#[derive(Default)]
struct Decoded {
    batch: store::Batch,
    refused: Vec<RejectedRecord>,
}

/// Bytes that could not be decoded to a record.
struct RejectedRecord {
    bytes: Vec<u8>,
    error: String,
}

/// The smallest part of a batch.
#[derive(Clone)]
enum Unit {
    Record(Box<(Record, Words)>),
    Attempt(Attempt),
}

impl Unit {
    fn letter(&self) -> Letter<'_> {
        match self {
            Self::Record(record) => Letter::Record(&record.0),
            Self::Attempt(attempt) => Letter::Attempt(attempt),
        }
    }
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

fn decode(payloads: &[Vec<u8>]) -> Decoded {
    let mut decoded = Decoded::default();
    for payload in payloads {
        match v1::IngestRequest::decode(payload.as_slice()) {
            Ok(mut request) => {
                decoded.refused.extend(refuse_unnamed(&mut request));
                decoded.batch.add(request);
            }
            Err(error) => decoded.refused.push(RejectedRecord {
                bytes: payload.clone(),
                error: format!("the payload can't be decoded: {error}"),
            }),
        }
    }
    decoded
}

/// Removes records whose id is not a UUID, because no store could look them up.
fn refuse_unnamed(request: &mut v1::IngestRequest) -> Option<RejectedRecord> {
    let is_id = |id: &str| Uuid::try_parse(id).is_ok();
    let traces = request.traces.extract_if(.., |trace| !is_id(&trace.id));
    let traces: Vec<_> = traces.collect();
    let attempts = request
        .attempts
        .extract_if(.., |attempt| !is_id(&attempt.trace_id));
    let unnamed = v1::IngestRequest {
        traces,
        attempts: attempts.collect(),
    };
    if unnamed.traces.is_empty() && unnamed.attempts.is_empty() {
        return None;
    }
    Some(RejectedRecord {
        bytes: unnamed.encode_to_vec(),
        error: "the trace id is not a UUID".to_owned(),
    })
}

fn units(payloads: &[Vec<u8>]) -> Vec<Unit> {
    let store::Batch { records, attempts } = decode(payloads).batch;
    let records = records.into_iter();
    records
        .map(|record| Unit::Record(Box::new(record)))
        .chain(attempts.into_iter().map(Unit::Attempt))
        .collect()
}

fn batch_of(units: &[Unit]) -> store::Batch {
    let mut batch = store::Batch::default();
    for unit in units {
        match unit.clone() {
            Unit::Record(record) => batch.records.push(*record),
            Unit::Attempt(attempt) => batch.attempts.push(attempt),
        }
    }
    batch
}

#[cfg(test)]
mod tests {

    use super::*;
    use opentracy_base::health::HealthCode;
    use opentracy_store::Sqlite;

    /// Opens a store in a folder, with a trigger that rejects one user's records.
    fn store(folder: &std::path::Path) -> Arc<Sqlite> {
        let path = folder.join("traces.db");
        let store = Sqlite::open(&path).unwrap();
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "CREATE TRIGGER poison BEFORE INSERT ON bodies WHEN NEW.user = 'poison'
                    BEGIN SELECT RAISE(ABORT, 'refused by a trigger'); END;
                CREATE TRIGGER poisoned_attempt BEFORE INSERT ON attempts WHEN NEW.provider = 'poison'
                    BEGIN SELECT RAISE(ABORT, 'refused by a trigger'); END;",
            )
            .unwrap();
        Arc::new(store)
    }

    fn drain(folder: &std::path::Path, store: Arc<dyn Store>) -> Drain {
        let health = HealthRegistry::default();
        let state = StoreState::default();
        Drain {
            store,
            observers: Arc::new([]),
            dead_letters: DeadLetters::new(folder, health.clone(), state.dead_letters.clone()),
            health,
            state,
        }
    }

    fn payload(user: &str) -> Vec<u8> {
        let id = Uuid::now_v7().to_string();
        let trace = v1::Trace {
            id: id.clone(),
            user: user.to_owned(),
            ..v1::Trace::default()
        };
        let attempt = v1::Attempt {
            trace_id: id,
            number: 1,
            provider: user.to_owned(),
            ..v1::Attempt::default()
        };
        v1::IngestRequest {
            traces: vec![trace],
            attempts: vec![attempt],
        }
        .encode_to_vec()
    }

    #[tokio::test]
    async fn a_record_that_the_store_refuses_blocks_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let drain = drain(folder.path(), store(folder.path()));
        let mut payloads: Vec<Vec<u8>> = (0..9).map(|_| payload("somebody")).collect();
        payloads.insert(4, payload("poison"));
        payloads.push(b"\xff no request".to_vec());
        let unnamed = v1::IngestRequest {
            traces: vec![v1::Trace::default()],
            attempts: Vec::new(),
        };
        payloads.push(unnamed.encode_to_vec());
        let new = drain.store(&payloads, decode(&payloads)).await;
        assert_eq!(new.len(), 9);
        let file = folder.path().join(crate::dead_letters::FILE);
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let lines: Vec<serde_json::Value> = lines.collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(lines[0]["payload"], "/yBubyByZXF1ZXN0");
        let of = |key: &str| lines.iter().find(|line| line[key].is_object()).unwrap();
        assert_eq!(of("trace")["trace"]["user"], "poison");
        assert_eq!(of("attempt")["attempt"]["provider"], "poison");
        assert!(text.contains("refused by a trigger"));
        assert_eq!(drain.health.count(HealthCode::StoreDeadLetters), 1);
        assert_eq!(drain.health.count(HealthCode::StoreWrite), 0);
        std::fs::remove_file(file).unwrap();
        drain.dead_letters.refresh();
        assert!(!drain.health.is_degraded());
    }

    #[tokio::test]
    async fn an_outage_of_the_store_is_no_reason_to_put_records_aside() {
        let folder = tempfile::tempdir().unwrap();
        let drain = drain(folder.path(), store(folder.path()));
        let connection = rusqlite::Connection::open(folder.path().join("traces.db")).unwrap();
        let payloads: Vec<Vec<u8>> = (0..5).map(|_| payload("somebody")).collect();
        connection
            .execute_batch("ALTER TABLE bodies RENAME TO hidden")
            .unwrap();
        let heal = async {
            while drain.state.write_errors.get() < 3 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(drain.health.count(HealthCode::StoreWrite), 1);
            connection
                .execute_batch("ALTER TABLE hidden RENAME TO bodies")
                .unwrap();
        };
        let (new, ()) = tokio::join!(drain.store(&payloads, decode(&payloads)), heal);
        assert_eq!(new.len(), 5);
        assert!(!drain.health.is_degraded());
        assert_eq!(drain.state.dead_letters.get(), 0);
    }

    #[tokio::test]
    async fn a_file_of_dead_letters_that_can_not_be_written_holds_records_back() {
        let folder = tempfile::tempdir().unwrap();
        let drain = drain(folder.path(), store(folder.path()));
        let file = folder.path().join(crate::dead_letters::FILE);
        std::fs::create_dir(&file).unwrap();
        let payloads = [payload("poison")];
        let heal = async {
            while drain.state.write_errors.get() < 3 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(drain.health.count(HealthCode::StoreWrite), 1);
            std::fs::remove_dir(&file).unwrap();
        };
        let (new, ()) = tokio::join!(drain.store(&payloads, decode(&payloads)), heal);
        assert!(new.is_empty());
        assert_eq!(drain.state.dead_letters.get(), 2);
    }
}
