//! Saves a checkpoint of the store's progress, and removes the segments that are stored completely.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::journal::Backlog;
use crate::journal::files::Files;
use crate::journal::progress::Progress;
use crate::journal::report::Report;
use crate::journal::segment::Segments;

const FILE: &str = "position";

#[derive(Debug)]
pub struct Bookmark {
    files: Arc<dyn Files>,
    path: PathBuf,
    progress: Progress,
    /// `true` if the file differs from `progress`.
    is_stale: bool,
    segments: Segments,
    backlog: Arc<Backlog>,
    report: Report,
    /// Stored segments that could not be removed yet.
    to_release: BTreeSet<u64>,
    /// The lock file, held while the journal is in use.
    _lock: File,
}

/// Reads the checkpoint. If it is missing or damaged, reading starts at the first segment: writes
/// to the store are idempotent.
pub fn read(files: &dyn Files, folder: &Path) -> Progress {
    let path = folder.join(FILE);
    let line = match files.read(&path) {
        Ok(line) => line,
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(
                    "{} can't be read, so the whole journal is read again: {error}",
                    path.display()
                );
            }
            return Progress::default();
        }
    };
    Progress::parse(&line).unwrap_or_else(|| {
        tracing::warn!(
            "{} is damaged, so the whole journal is read again",
            path.display()
        );
        Progress::default()
    })
}

impl Bookmark {
    pub(super) fn new(
        files: Arc<dyn Files>,
        folder: &Path,
        progress: Progress,
        segments: Segments,
        backlog: Arc<Backlog>,
        report: Report,
        lock: File,
    ) -> Self {
        Self {
            files,
            path: folder.join(FILE),
            progress,
            is_stale: false,
            segments,
            backlog,
            report,
            to_release: BTreeSet::new(),
            _lock: lock,
        }
    }

    /// Adds segments that an earlier process could not remove.
    pub(super) fn release_later(&mut self, numbers: impl IntoIterator<Item = u64>) {
        self.to_release.extend(numbers);
    }

    /// Saves the store's progress and removes the segments that are stored completely.
    pub fn advance(&mut self, progress: &Progress) {
        let is_news = *progress != self.progress;
        if !is_news && !self.is_stale && self.to_release.is_empty() {
            return;
        }
        let mut failure = None;
        if is_news || self.is_stale {
            let written = self.write(progress);
            self.is_stale = written.is_err();
            failure = written.err().map(|error| error.to_string());
        }
        if is_news {
            self.account(progress);
            self.progress = progress.clone();
        }
        // Safe with a stale checkpoint too: reading starts at the first existing segment.
        self.to_release.retain(|&number| {
            let Err(error) = self.report.release(number) else {
                return false;
            };
            failure = Some(format!("segment {number} can't be removed: {error}"));
            true
        });
        self.report.bookmark(failure.as_deref());
    }

    /// Writes the file. On a full disk it is overwritten in place; its checksum reveals a partial
    /// write.
    fn write(&self, progress: &Progress) -> std::io::Result<()> {
        let line = progress.to_line();
        self.files
            .replace(&self.path, line.as_bytes())
            .or_else(|error| {
                self.files
                    .overwrite(&self.path, line.as_bytes())
                    .map_err(|_| error)
            })
    }

    /// Subtracts stored records from the backlog and removes stored segments from the list.
    fn account(&mut self, progress: &Progress) {
        let before = &self.progress;
        let passed = self
            .segments
            .between(before.position.segment, progress.position.segment);
        let mut open: BTreeSet<u64> = passed.into_iter().collect();
        open.extend(before.deferred.keys());
        let mut done = 0;
        for number in open {
            let from = before.offset_in(number);
            if let Some(&to) = progress.deferred.get(&number) {
                done += to.saturating_sub(from);
            } else if let Some(segment) = self.segments.remove(number) {
                done += segment.bytes.saturating_sub(from);
                self.to_release.insert(number);
            }
        }
        let current = progress.position.segment;
        done += progress
            .position
            .offset
            .saturating_sub(before.offset_in(current));
        self.backlog.remove(done);
    }
}
