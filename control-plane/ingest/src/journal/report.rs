//! Reports faults of a journal in the log, in `/health`, and as counters.

use std::collections::HashSet;
use std::io::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;

use crate::journal::cursor::Damage;
use crate::journal::files::Files;
use crate::journal::segment;
use opentracy_base::health::{HealthCode, HealthRegistry};

/// Limit on damaged segments that are kept for inspection; older ones are removed.
pub const MAX_DAMAGED: usize = 8;

/// Counters since the start of the process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct JournalCounters {
    /// Failed reads of a segment.
    pub read_errors: Counter,
    /// Failed writes to a segment; none of their records was acknowledged.
    pub write_errors: Counter,
    /// Failed writes of the bookmark.
    pub bookmark_errors: Counter,
    /// Partial frames at the ends of segments. A crash leaves one; a truncated file looks the same.
    pub torn_ends: Counter,
    /// Unrecoverable places in segments.
    pub damaged_places: Counter,
    pub damaged_bytes: Counter,
    /// Frames lost in those places, as far as known. A frame holds the traces of one call from the
    /// filter.
    pub lost_frames: Counter,
}

/// The registry and counters for faults. Clones share them.
#[derive(Debug, Clone)]
pub struct Report {
    files: Arc<dyn Files>,
    folder: PathBuf,
    health: HealthRegistry,
    pub figures: JournalCounters,
    /// Segments with known damage.
    damaged: Arc<Mutex<HashSet<u64>>>,
    /// Damaged segments that could not be linked; they are renamed once the store has them.
    to_rename: Arc<Mutex<HashSet<u64>>>,
    is_full: Arc<AtomicBool>,
}

impl Report {
    pub fn new(files: Arc<dyn Files>, folder: &Path, health: HealthRegistry) -> Self {
        Self {
            files,
            folder: folder.to_owned(),
            health,
            figures: JournalCounters::default(),
            damaged: Arc::default(),
            to_rename: Arc::default(),
            is_full: Arc::default(),
        }
    }

    /// Reports a segment that can't be read and will be retried.
    pub fn unreadable(&self, number: u64, offset: u64, error: &Error) {
        self.figures.read_errors.inc();
        let message = format!(
            "segment {number} of the journal can't be read from byte {offset} on: {error}; it is kept and retried"
        );
        let subject = number.to_string();
        if self
            .health
            .report(HealthCode::JournalRead, &subject, &message)
        {
            tracing::error!(
                event = "journal_read_failing",
                segment = number,
                "{message}"
            );
        }
    }

    /// Reports that a segment can be read again.
    pub fn readable(&self, number: u64) {
        let subject = number.to_string();
        if self.health.resolve(HealthCode::JournalRead, &subject) {
            tracing::info!(
                segment = number,
                "a segment of the journal can be read again"
            );
        }
    }

    /// Reports a partial frame at the end of a segment, which was never acknowledged.
    pub fn torn(&self, number: u64, bytes: u64) {
        self.figures.torn_ends.inc();
        tracing::warn!(
            segment = number,
            "the last {bytes} bytes of a segment of the journal are a partial frame, which was never acknowledged: skipping them"
        );
    }

    /// Reports a damaged place. The segment is kept.
    pub fn damaged(&self, number: u64, damage: Damage) {
        self.figures.damaged_places.inc();
        self.figures.damaged_bytes.inc_by(damage.bytes);
        let lost = u64::from(damage.lost_frames.unwrap_or(1));
        self.figures.lost_frames.inc_by(lost);
        let at_least = if damage.lost_frames.is_none() {
            "at least "
        } else {
            ""
        };
        tracing::error!(
            event = "journal_damaged",
            segment = number,
            offset = damage.offset,
            bytes = damage.bytes,
            lost_frames = lost,
            "a segment of the journal is damaged: {at_least}{lost} batches of traces are lost; the rest is read, and the segment is kept as `.damaged`"
        );
        if held(&self.damaged).insert(number) {
            self.keep(number);
        }
        self.refresh_damaged();
    }

    /// Links a damaged segment under a second name, so that it remains once the store has it.
    fn keep(&self, number: u64) {
        let from = segment::path(&self.folder, number);
        let to = segment::damaged_path(&self.folder, number);
        if let Err(error) = self.files.link(&from, &to)
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            held(&self.to_rename).insert(number);
        }
        self.prune();
    }

    fn prune(&self) {
        let Ok(kept) = segment::list_damaged(&*self.files, &self.folder) else {
            return;
        };
        let surplus = kept.len().saturating_sub(MAX_DAMAGED);
        for &number in kept.iter().take(surplus) {
            let path = segment::damaged_path(&self.folder, number);
            match self.files.remove(&path) {
                Ok(()) => tracing::warn!(
                    "removed {}: {MAX_DAMAGED} newer damaged segments are kept",
                    path.display()
                ),
                Err(error) => tracing::warn!("{} can't be removed: {error}", path.display()),
            }
        }
    }

    /// Removes a stored segment, or renames it to `.damaged`.
    pub fn release(&self, number: u64) -> std::io::Result<()> {
        let path = segment::path(&self.folder, number);
        let released = if held(&self.to_rename).contains(&number) {
            let renamed = self
                .files
                .rename(&path, &segment::damaged_path(&self.folder, number));
            self.prune();
            renamed
        } else {
            self.files.remove(&path)
        };
        match released {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Updates `/health` and returns `true` while there is damage to report, which is until
    /// somebody moves the `.damaged` files away.
    pub fn refresh_damaged(&self) -> bool {
        let kept = segment::list_damaged(&*self.files, &self.folder).map_or(1, |kept| kept.len());
        let is_damaged = kept > 0 || !held(&self.to_rename).is_empty();
        if is_damaged {
            let figures = &self.figures;
            let message = format!(
                "segments of the journal are damaged: since the start {} places, {} bytes, {} batches of traces lost; {kept} damaged segments are kept as `.damaged` in `journal.path`: examine them, and move them away to clear this",
                figures.damaged_places.get(),
                figures.damaged_bytes.get(),
                figures.lost_frames.get(),
            );
            self.health.report(HealthCode::JournalDamage, "", message);
        } else {
            self.health.resolve(HealthCode::JournalDamage, "");
        }
        is_damaged
    }

    /// Reports that the journal can't be written.
    pub fn unwritable(&self, error: &Error) {
        self.figures.write_errors.inc();
        let message = format!("the journal can't be written, traces wait in Envoy: {error}");
        if self.health.report(HealthCode::JournalWrite, "", &message) {
            let folder = self.folder.display();
            tracing::error!(event = "journal_write_failing", %folder, "{message}");
        }
    }

    /// Reports that the journal was written.
    pub fn writable(&self) {
        if self.health.resolve(HealthCode::JournalWrite, "") {
            tracing::info!("the journal can be written again");
        }
    }

    /// Reports that the journal's limit is exceeded (with the bytes held), or no longer is.
    pub fn set_full(&self, held: Option<u64>) {
        if self.is_full.swap(held.is_some(), Ordering::Relaxed) == held.is_some() {
            return;
        }
        match held {
            Some(held) => {
                let message = format!(
                    "the journal is full: {held} bytes are waiting for the store (limit: `journal.max_bytes`), and traces wait in Envoy"
                );
                tracing::error!(event = "journal_full", "{message}");
                self.health.report(HealthCode::JournalFull, "", message);
            }
            None => {
                tracing::info!("the journal has room again");
                self.health.resolve(HealthCode::JournalFull, "");
            }
        }
    }

    /// Reports an error of the checkpoint or of removing stored segments; `None` if both work.
    pub fn bookmark(&self, error: Option<&str>) {
        let Some(error) = error else {
            if self.health.resolve(HealthCode::JournalBookmark, "") {
                tracing::info!("the journal's checkpoint can be written again");
            }
            return;
        };
        self.figures.bookmark_errors.inc();
        let message = format!(
            "the journal's checkpoint can't be written: {error}; nothing is lost, but more is read again after a restart"
        );
        if self
            .health
            .report(HealthCode::JournalBookmark, "", &message)
        {
            tracing::error!(event = "journal_bookmark_failing", "{message}");
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
