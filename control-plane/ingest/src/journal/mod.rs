//! The journal keeps every acknowledged record on disk until the store has it.
//!
//! A journal is a folder of segments, each a sequence of checksummed frames. One thread (`writer`)
//! appends; payloads that arrive during an fsync are written together with the next one. The
//! `reader` follows, with a `cursor` for each segment. The `bookmark` saves a checkpoint of the
//! store's progress; completely stored segments are deleted. After a crash, reading resumes at the
//! last checkpoint, so a store may get records twice, and its writes must be idempotent.
//!
//! Damage costs only the frames that it touches: reading continues at the next frame whose
//! checksums match, and the segment is kept as `.damaged`. An unreadable segment is kept and
//! retried. `report` publishes both.

mod bookmark;
mod cursor;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod faults;
mod files;
mod frame;
mod progress;
mod reader;
mod report;
mod segment;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use files::{Disk, Files};
use opentracy_base::health::HealthRegistry;
use report::Report;
use segment::{Segment, SegmentOrigin, Segments};

pub use bookmark::Bookmark;
pub use progress::Progress;
pub use reader::{JournalBatch, Reader};
pub use report::JournalCounters;
pub use segment::{Position, lock};

/// Limit on payloads that wait for the disk, in KiB; beyond it, callers wait.
const MAX_WAITING_KIB: usize = 64 << 10;
const MAX_WAITING: usize = 1024;

/// The reason why a record was rejected. It was not acknowledged, so its sender still has it.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error(
        "the journal is full: {0} bytes are waiting for the store (limit: `journal.max_bytes`)"
    )]
    Full(u64),
    #[error("the journal can't be written: {0}")]
    Io(Arc<std::io::Error>),
    #[error("the journal's writer stopped; restart the control plane")]
    Stopped,
}

/// The write side of the journal.
#[derive(Debug, Clone)]
pub struct Journal {
    queue: mpsc::Sender<Append>,
    waiting: Arc<Semaphore>,
    durable: watch::Receiver<Position>,
    backlog: Arc<Backlog>,
    report: Report,
}

/// A payload that waits for the disk.
struct Append {
    payload: Vec<u8>,
    done: oneshot::Sender<Result<(), JournalError>>,
}

/// The bytes that are not yet in the store, and their limit.
#[derive(Debug)]
struct Backlog {
    bytes: AtomicU64,
    limit: u64,
}

impl Backlog {
    fn held(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Saturates, because the leftovers of a failed write were never added.
    fn remove(&self, bytes: u64) {
        let less = |held: u64| Some(held.saturating_sub(bytes));
        // The closure always returns a value, so the update can't fail.
        let _ = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

/// Opens the journal in a folder, or creates one. Only one process can have it open.
pub fn open(
    folder: &Path,
    max_bytes: u64,
    health: HealthRegistry,
) -> anyhow::Result<(Journal, Reader, Bookmark)> {
    open_with(Arc::new(Disk), folder, max_bytes, health)
}

fn open_with(
    files: Arc<dyn Files>,
    folder: &Path,
    max_bytes: u64,
    health: HealthRegistry,
) -> anyhow::Result<(Journal, Reader, Bookmark)> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("the folder {} can't be created", folder.display()))?;
    let lock = segment::lock(folder)?;
    let list = |kind: fn(&dyn Files, &Path) -> std::io::Result<Vec<u64>>| {
        kind(&*files, folder)
            .with_context(|| format!("the folder {} can't be read", folder.display()))
    };
    let found = list(segment::list)?;
    let damaged = list(segment::list_damaged)?;
    let mut start = bookmark::read(&*files, folder);
    start.deferred.retain(|number, _| found.contains(number));
    let report = Report::new(Arc::clone(&files), folder, health);
    let segments = Segments::default();
    let mut done = Vec::new();
    let mut waiting = 0u64;
    for &number in &found {
        if number < start.position.segment && !start.deferred.contains_key(&number) {
            // The process ended between the checkpoint and the deletion.
            done.push(number);
            continue;
        }
        // An unknown length counts as 0; the file is read regardless.
        let bytes = files
            .length(&segment::path(folder, number))
            .unwrap_or_default();
        let origin = SegmentOrigin::Earlier;
        segments.set(number, Segment { bytes, origin });
        waiting += bytes.saturating_sub(start.offset_in(number));
    }
    let backlog = Arc::new(Backlog {
        bytes: AtomicU64::new(waiting),
        limit: max_bytes,
    });
    // Segments of earlier runs are never appended to, because their ends may be torn.
    let last = found.iter().chain(&damaged).max().copied();
    let next = last.unwrap_or_default().max(start.position.segment) + 1;
    let end = Position {
        segment: next,
        offset: 0,
    };
    let (durable, follow) = watch::channel(end);
    let (queue, appends) = mpsc::channel(MAX_WAITING);
    let writer = writer::Writer::new(
        Arc::clone(&files),
        folder,
        next,
        segments.clone(),
        durable,
        Arc::clone(&backlog),
        report.clone(),
    );
    std::thread::Builder::new()
        .name("journal".to_owned())
        .spawn(move || writer.run(appends))?;
    let reader = Reader::new(
        Arc::clone(&files),
        folder,
        &start,
        segments.clone(),
        follow.clone(),
        report.clone(),
    );
    let mut bookmark = Bookmark::new(
        files,
        folder,
        start,
        segments,
        Arc::clone(&backlog),
        report.clone(),
        lock,
    );
    bookmark.release_later(done);
    let journal = Journal {
        queue,
        waiting: Arc::new(Semaphore::new(MAX_WAITING_KIB)),
        durable: follow,
        backlog,
        report,
    };
    Ok((journal, reader, bookmark))
}

impl Journal {
    /// Appends a payload, which is on disk on return.
    pub async fn append(&self, payload: Vec<u8>) -> Result<(), JournalError> {
        let held = self.backlog.held();
        // An empty journal accepts any payload; one above the limit could otherwise never be
        // stored.
        if held > 0 && held + payload.len() as u64 > self.backlog.limit {
            self.report.set_full(Some(held));
            return Err(JournalError::Full(held));
        }
        self.report.set_full(None);
        let size = (payload.len() / 1024 + 1).min(MAX_WAITING_KIB);
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let _room = self
            .waiting
            .acquire_many(size)
            .await
            .map_err(|_| self.stopped())?;
        let (done, written) = oneshot::channel();
        self.queue
            .send(Append { payload, done })
            .await
            .map_err(|_| self.stopped())?;
        written.await.map_err(|_| self.stopped())?
    }

    /// Reports that the writer thread ended, which only a bug can cause.
    fn stopped(&self) -> JournalError {
        let error = JournalError::Stopped;
        self.report
            .unwritable(&std::io::Error::other(error.to_string()));
        error
    }

    /// Returns the end of everything appended so far.
    pub fn end(&self) -> Position {
        *self.durable.borrow()
    }

    /// Returns the number of bytes that are not yet in the store.
    pub fn backlog_bytes(&self) -> u64 {
        self.backlog.held()
    }

    /// Returns the counters since the start.
    pub fn figures(&self) -> &JournalCounters {
        &self.report.figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    const LIMIT: u64 = 1 << 30;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Runtime::new().unwrap()
    }

    fn append(runtime: &tokio::runtime::Runtime, journal: &Journal, payloads: &[&[u8]]) {
        for payload in payloads {
            runtime.block_on(journal.append(payload.to_vec())).unwrap();
        }
    }

    /// Reads everything available, without a checkpoint.
    fn drain(reader: &mut Reader) -> Vec<Vec<u8>> {
        reader.next(usize::MAX).payloads
    }

    fn last_segment(folder: &Path) -> PathBuf {
        segment::path(
            folder,
            *segment::list(&Disk, folder).unwrap().last().unwrap(),
        )
    }

    #[test]
    fn what_was_appended_is_read_until_it_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = runtime();
        {
            let (journal, mut reader, _bookmark) =
                open(folder.path(), LIMIT, HealthRegistry::default()).unwrap();
            append(&runtime, &journal, &[b"one", b"two", b"three"]);
            assert_eq!(drain(&mut reader), [&b"one"[..], b"two", b"three"]);
        }
        let (journal, mut reader, mut bookmark) =
            open(folder.path(), LIMIT, HealthRegistry::default()).unwrap();
        append(&runtime, &journal, &[b"four"]);
        let batch = reader.next(11);
        assert_eq!(batch.payloads, [&b"one"[..], b"two", b"three"]);
        bookmark.advance(&batch.progress);
        drop((journal, reader, bookmark));
        let (_journal, mut reader, _bookmark) =
            open(folder.path(), LIMIT, HealthRegistry::default()).unwrap();
        assert_eq!(drain(&mut reader), [b"four"]);
    }

    #[test]
    fn a_torn_end_costs_nothing_that_was_acknowledged() {
        let runtime = runtime();
        for torn in [1, 5, 11, 13, 19, 21] {
            let folder = tempfile::tempdir().unwrap();
            {
                let (journal, _reader, _bookmark) =
                    open(folder.path(), LIMIT, HealthRegistry::default()).unwrap();
                append(&runtime, &journal, &[b"one", b"two", b"unfinished"]);
            }
            let path = last_segment(folder.path());
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() - torn]).unwrap();
            let (journal, mut reader, _bookmark) =
                open(folder.path(), LIMIT, HealthRegistry::default()).unwrap();
            append(&runtime, &journal, &[b"next"]);
            assert_eq!(drain(&mut reader), [&b"one"[..], b"two", b"next"], "{torn}");
        }
    }

    #[test]
    fn rubbish_is_stepped_over_and_kept_for_a_person() {
        let runtime = runtime();
        let folder = tempfile::tempdir().unwrap();
        {
            let (journal, _reader, _bookmark) =
                open(folder.path(), LIMIT, HealthRegistry::default()).unwrap();
            append(&runtime, &journal, &[b"one", b"two", b"three"]);
        }
        let path = last_segment(folder.path());
        let mut bytes = std::fs::read(&path).unwrap();
        let two = bytes.windows(3).position(|word| word == b"two").unwrap();
        bytes[two] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let (journal, mut reader, mut bookmark) =
            open(folder.path(), LIMIT, HealthRegistry::default()).unwrap();
        append(&runtime, &journal, &[b"four"]);
        let batch = reader.next(usize::MAX);
        bookmark.advance(&batch.progress);
        assert_eq!(batch.payloads, [&b"one"[..], b"three", b"four"]);
        let kept = std::fs::read_dir(folder.path())
            .unwrap()
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|end| end == "damaged"));
        assert_eq!(kept.count(), 1);
    }

    #[test]
    fn segments_that_are_done_with_go_and_make_room() {
        let runtime = runtime();
        let folder = tempfile::tempdir().unwrap();
        let large = vec![7; 20 << 20];
        let (journal, mut reader, mut bookmark) =
            open(folder.path(), 100 << 20, HealthRegistry::default()).unwrap();
        for _ in 0..4 {
            append(&runtime, &journal, &[&large]);
        }
        let error = runtime.block_on(journal.append(large.clone())).unwrap_err();
        assert!(matches!(error, JournalError::Full(_)), "{error}");
        bookmark.advance(&reader.next(usize::MAX).progress);
        assert_eq!(journal.backlog_bytes(), 0);
        append(&runtime, &journal, &[&large]);
        bookmark.advance(&reader.next(1).progress);
        assert_eq!(segment::list(&Disk, folder.path()).unwrap().len(), 1);
    }

    #[test]
    fn a_journal_has_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let _held = open(folder.path(), LIMIT, HealthRegistry::default()).unwrap();
        let error = open(folder.path(), LIMIT, HealthRegistry::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("another"), "{error}");
    }
}
