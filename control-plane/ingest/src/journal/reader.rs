//! The read side of the journal, which feeds the store.
//!
//! An unreadable segment is deferred: it is retried with backoff while later segments are read. It
//! stays in [`Progress`] until it was read to the end, so it isn't removed, and reading continues
//! after a restart.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::journal::cursor::{CursorStep, End, SegmentCursor};
use crate::journal::files::Files;
use crate::journal::progress::Progress;
use crate::journal::report::Report;
use crate::journal::segment::{Position, SegmentOrigin, Segments};

/// Limit on deferred segments. Beyond it, reading waits until one of them becomes readable.
const MAX_DEFERRED: usize = 64;
/// The first delay of the exponential backoff, which doubles each time.
const FIRST_RETRY: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 200 });
const MAX_RETRY: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 30_000 });
/// The interval between checks of reported damage.
const REFRESH_EVERY: Duration = Duration::from_secs(2);

/// Payloads, and the progress of the store once it has them.
#[derive(Debug)]
pub struct JournalBatch {
    pub payloads: Vec<Vec<u8>>,
    pub progress: Progress,
}

#[derive(Debug)]
pub struct Reader {
    files: Arc<dyn Files>,
    folder: PathBuf,
    segments: Segments,
    /// The end of the data that is on disk.
    durable: watch::Receiver<Position>,
    cursor: SegmentCursor,
    /// Set while the cursor's segment is unreadable and can't be deferred.
    stalled: Option<Retry>,
    deferred: BTreeMap<u64, Deferred>,
    report: Report,
    is_damaged: bool,
}

#[derive(Debug)]
struct Deferred {
    cursor: SegmentCursor,
    retry: Retry,
}

/// The time and delay of the next retry.
#[derive(Debug, Clone, Copy)]
struct Retry {
    at: Instant,
    wait: Duration,
}

impl Retry {
    fn first() -> Self {
        Self {
            at: Instant::now() + FIRST_RETRY,
            wait: FIRST_RETRY,
        }
    }

    fn again(self) -> Self {
        let wait = (self.wait * 2).min(MAX_RETRY);
        Self {
            at: Instant::now() + wait,
            wait,
        }
    }

    fn is_due(self) -> bool {
        self.at <= Instant::now()
    }
}

/// Payloads up to about `max_bytes`.
struct Load {
    payloads: Vec<Vec<u8>>,
    bytes: usize,
    max_bytes: usize,
}

impl Load {
    fn is_full(&self) -> bool {
        self.bytes >= self.max_bytes
    }
}

/// The outcome of reading a segment.
enum Outcome {
    Full,
    AtEnd,
    Failed(std::io::Error),
}

impl Reader {
    pub(super) fn new(
        files: Arc<dyn Files>,
        folder: &Path,
        start: &Progress,
        segments: Segments,
        durable: watch::Receiver<Position>,
        report: Report,
    ) -> Self {
        let deferred = start.deferred.iter().map(|(&number, &offset)| {
            let deferred = Deferred {
                cursor: SegmentCursor::new(number, offset),
                retry: Retry {
                    at: Instant::now(),
                    wait: FIRST_RETRY,
                },
            };
            (number, deferred)
        });
        Self {
            files,
            folder: folder.to_owned(),
            segments,
            durable,
            cursor: SegmentCursor::new(start.position.segment, start.position.offset),
            stalled: None,
            deferred: deferred.collect(),
            is_damaged: report.refresh_damaged(),
            report,
        }
    }

    /// Waits for new data or the next retry. Returns `false` if no more data will arrive.
    pub async fn wait(&mut self) -> bool {
        let tries = self.deferred.values().map(|deferred| deferred.retry.at);
        let refresh = self.is_damaged.then(|| Instant::now() + REFRESH_EVERY);
        let next = tries
            .chain(self.stalled.map(|retry| retry.at))
            .chain(refresh)
            .min();
        let changed = self.durable.changed();
        let Some(next) = next else {
            return changed.await.is_ok();
        };
        tokio::time::timeout_at(next.into(), changed)
            .await
            .map_or(true, |changed| changed.is_ok())
    }

    /// Reads the next payloads, about `max_bytes` in total; the batch is empty if nothing is ready.
    pub fn next(&mut self, max_bytes: usize) -> JournalBatch {
        let durable = *self.durable.borrow();
        let mut load = Load {
            payloads: Vec::new(),
            bytes: 0,
            max_bytes,
        };
        if self.is_damaged {
            self.is_damaged = self.report.refresh_damaged();
        }
        self.retry_deferred(durable, &mut load);
        while !load.is_full() && self.stalled.is_none_or(Retry::is_due) {
            match self.read(durable, &mut load) {
                Outcome::Full => self.resume(),
                Outcome::AtEnd => {
                    self.resume();
                    if !self.go_on(durable) {
                        break;
                    }
                }
                Outcome::Failed(error) => {
                    let SegmentCursor {
                        segment, offset, ..
                    } = self.cursor;
                    self.report.unreadable(segment, offset, &error);
                    let retry = self.stalled.map_or_else(Retry::first, Retry::again);
                    if segment >= durable.segment || self.deferred.len() >= MAX_DEFERRED {
                        self.stalled = Some(retry);
                        break;
                    }
                    self.defer(retry, durable);
                }
            }
        }
        let deferred = self.deferred.iter();
        let progress = Progress {
            position: Position {
                segment: self.cursor.segment,
                offset: self.cursor.offset,
            },
            deferred: deferred
                .map(|(&number, deferred)| (number, deferred.cursor.offset))
                .collect(),
        };
        JournalBatch {
            payloads: load.payloads,
            progress,
        }
    }

    fn retry_deferred(&mut self, durable: Position, load: &mut Load) {
        let due = self.deferred.iter();
        let due = due.filter(|(_, deferred)| deferred.retry.is_due());
        let due: Vec<u64> = due.map(|(&number, _)| number).collect();
        for number in due {
            if load.is_full() {
                return;
            }
            let Some(mut deferred) = self.deferred.remove(&number) else {
                continue;
            };
            std::mem::swap(&mut self.cursor, &mut deferred.cursor);
            let outcome = self.read(durable, load);
            std::mem::swap(&mut self.cursor, &mut deferred.cursor);
            match outcome {
                Outcome::AtEnd => self.report.readable(number),
                Outcome::Full => {
                    self.deferred.insert(number, deferred);
                }
                Outcome::Failed(error) => {
                    let offset = deferred.cursor.offset;
                    self.report.unreadable(number, offset, &error);
                    deferred.retry = deferred.retry.again();
                    self.deferred.insert(number, deferred);
                }
            }
        }
    }

    /// Continues reading the cursor's segment.
    fn read(&mut self, durable: Position, load: &mut Load) -> Outcome {
        let number = self.cursor.segment;
        let Some(segment) = self.segments.get(number) else {
            // No frame of this segment was ever acknowledged.
            return Outcome::AtEnd;
        };
        let end = match segment.origin {
            SegmentOrigin::Earlier => End::OfFile,
            // The list may be ahead of the end that this call uses.
            SegmentOrigin::This if number == durable.segment => End::At(durable.offset),
            SegmentOrigin::This => End::At(segment.bytes),
        };
        while !load.is_full() {
            match self.cursor.next(&*self.files, &self.folder, end) {
                Ok(CursorStep::Payload(payload)) => {
                    load.bytes += payload.len();
                    load.payloads.push(payload);
                }
                Ok(CursorStep::Damage(damage)) => {
                    self.report.damaged(number, damage);
                    self.is_damaged = true;
                }
                Ok(CursorStep::Torn(bytes)) => self.report.torn(number, bytes),
                Ok(CursorStep::End) => return Outcome::AtEnd,
                Err(error) => return Outcome::Failed(error),
            }
        }
        Outcome::Full
    }

    /// Reports the cursor's segment as readable again.
    fn resume(&mut self) {
        if self.stalled.take().is_some() {
            self.report.readable(self.cursor.segment);
        }
    }

    /// Moves to the next segment unless this is the last.
    fn go_on(&mut self, durable: Position) -> bool {
        let number = self.cursor.segment;
        if number >= durable.segment {
            return false;
        }
        let next = self.segments.after(number).unwrap_or(durable.segment);
        self.cursor = SegmentCursor::new(next.min(durable.segment), 0);
        true
    }

    /// Defers the cursor's segment.
    fn defer(&mut self, retry: Retry, durable: Position) {
        let number = self.cursor.segment;
        self.stalled = None;
        let next = self.segments.after(number).unwrap_or(durable.segment);
        let next = SegmentCursor::new(next.min(durable.segment), 0);
        let cursor = std::mem::replace(&mut self.cursor, next);
        self.deferred.insert(number, Deferred { cursor, retry });
    }
}
