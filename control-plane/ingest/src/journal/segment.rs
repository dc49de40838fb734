//! The files of a journal, and the list of their states.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};

use crate::journal::files::Files;

/// A position in a journal; everything before it was read or written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub segment: u64,
    pub offset: u64,
}

/// The extension of segments.
const LIVE: &str = "log";
/// The extension of damaged segments that are kept for inspection.
const DAMAGED: &str = "damaged";

pub fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:020}.{LIVE}"))
}

pub fn damaged_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:020}.{DAMAGED}"))
}

/// Returns the numbers of all segments, sorted.
pub fn list(files: &dyn Files, folder: &Path) -> std::io::Result<Vec<u64>> {
    numbers(files, folder, LIVE)
}

/// Returns the numbers of the damaged segments, sorted.
pub fn list_damaged(files: &dyn Files, folder: &Path) -> std::io::Result<Vec<u64>> {
    numbers(files, folder, DAMAGED)
}

fn numbers(files: &dyn Files, folder: &Path, extension: &str) -> std::io::Result<Vec<u64>> {
    let number = |name: &std::ffi::OsString| {
        let (number, end) = name.to_str()?.rsplit_once('.')?;
        number.parse::<u64>().ok().filter(|_| end == extension)
    };
    let mut numbers: Vec<u64> = files.list(folder)?.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Locks the journal against other processes while the file is open.
pub fn lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("lock");
    // On a read-only disk an existing lock file still opens, so the journal's content can be
    // stored.
    let file = File::create(&path)
        .or_else(|error| File::open(&path).map_err(|_| error))
        .with_context(|| format!("{} can't be written", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!(
            "another control plane is using {}; stop it, or set `journal.path` to a different folder",
            folder.display()
        );
    }
    Ok(file)
}

/// The segments with data that is not yet stored. Clones share one list. If a segment in it has no
/// file, reading it is an error, not an end.
#[derive(Debug, Clone, Default)]
pub struct Segments(Arc<Mutex<BTreeMap<u64, Segment>>>);

#[derive(Debug, Clone, Copy)]
pub struct Segment {
    /// Acknowledged bytes; for a segment of an earlier process, the length of the file.
    pub bytes: u64,
    pub origin: SegmentOrigin,
}

/// The writer of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentOrigin {
    /// This process; `bytes` is exact.
    This,
    /// An earlier process; the end of the file may be torn.
    Earlier,
}

impl Segments {
    pub fn get(&self, number: u64) -> Option<Segment> {
        self.held().get(&number).copied()
    }

    pub fn set(&self, number: u64, segment: Segment) {
        self.held().insert(number, segment);
    }

    pub fn remove(&self, number: u64) -> Option<Segment> {
        self.held().remove(&number)
    }

    /// Returns the first segment after a number.
    pub fn after(&self, number: u64) -> Option<u64> {
        let from = number.saturating_add(1);
        self.held().range(from..).next().map(|(&next, _)| next)
    }

    /// Returns the numbers in a range, sorted.
    pub fn between(&self, from: u64, to: u64) -> Vec<u64> {
        if from >= to {
            return Vec::new();
        }
        self.held()
            .range(from..to)
            .map(|(&number, _)| number)
            .collect()
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<u64, Segment>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
