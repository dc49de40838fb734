//! How far the store has come.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::journal::Backlog;
use crate::journal::segment::{self, Position};

/// Segments to keep for a person, as the reader finds them.
#[derive(Debug, Clone, Default)]
pub struct Damaged(Arc<Mutex<HashSet<u64>>>);

impl Damaged {
    /// Whether it is news.
    pub fn add(&self, segment: u64) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(segment)
    }

    fn contains(&self, segment: u64) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&segment)
    }
}

#[derive(Debug)]
pub struct Bookmark {
    folder: PathBuf,
    position: Position,
    backlog: Arc<Backlog>,
    damaged: Damaged,
    /// Held as long as the journal is in use.
    _lock: File,
}

impl Bookmark {
    pub(super) fn new(
        folder: &Path,
        position: Position,
        backlog: Arc<Backlog>,
        damaged: Damaged,
        lock: File,
    ) -> Self {
        Self {
            folder: folder.to_owned(),
            position,
            backlog,
            damaged,
            _lock: lock,
        }
    }

    /// The store has all before `end`: it will not be read again, and whole segments before it go.
    pub fn advance(&mut self, end: Position) {
        if end <= self.position {
            return;
        }
        if let Err(error) = segment::remember(&self.folder, end) {
            // Only means that more is read again after a restart.
            tracing::warn!("the journal's place can't be kept: {error}");
            return;
        }
        let mut from = self.position.offset;
        let mut done = 0;
        for number in self.position.segment..end.segment {
            let from = std::mem::take(&mut from);
            let path = segment::path(&self.folder, number);
            let Ok(metadata) = std::fs::metadata(&path) else {
                continue;
            };
            done += metadata.len().saturating_sub(from);
            let gone = if self.damaged.contains(number) {
                std::fs::rename(&path, path.with_extension("damaged"))
            } else {
                std::fs::remove_file(&path)
            };
            if let Err(error) = gone {
                tracing::warn!("{} can't be removed: {error}", path.display());
            }
        }
        self.backlog.remove(done + end.offset.saturating_sub(from));
        self.position = end;
    }
}
