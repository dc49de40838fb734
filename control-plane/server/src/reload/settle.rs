//! Waits until files have stopped changing, so that a half-written one is not read.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time without a change after which files are settled.
pub const SETTLE: Duration = Duration::from_millis(200);

/// The identity of a file's content; `None` if the file can't be read.
type Stamp = Option<(Metadata, u64)>;
type Metadata = (u64, u64, i64, i64, i64, i64);

/// The result of a check for changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// They are as they were when they were last accepted.
    Unchanged,
    /// They have changed, and may still be changing.
    Changing,
    /// They have changed, and have been the same for this long.
    Settled(Duration),
}

/// Files that are watched for changes.
#[derive(Debug)]
pub struct WatchedFiles {
    paths: Vec<PathBuf>,
    accepted: Vec<Stamp>,
    pending: Option<(Vec<Stamp>, Instant)>,
}

impl WatchedFiles {
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self {
            accepted: paths.iter().map(|path| stamp(path)).collect(),
            paths,
            pending: None,
        }
    }

    /// Checks the files for changes.
    pub fn look(&mut self, now: Instant) -> Look {
        let have_changed = |stamps: &[Stamp]| {
            let known = stamps
                .iter()
                .map(|stamp| stamp.map(|(metadata, _)| metadata));
            !known.eq(self.paths.iter().map(|path| metadata(path)))
        };
        if self.pending.is_none() && !have_changed(&self.accepted) {
            return Look::Unchanged;
        }
        let stamps: Vec<Stamp> = self.paths.iter().map(|path| stamp(path)).collect();
        if stamps == self.accepted {
            self.pending = None;
            return Look::Unchanged;
        }
        match &self.pending {
            Some((pending, since)) if *pending == stamps => {
                let quiet = now.saturating_duration_since(*since);
                if quiet < SETTLE {
                    Look::Changing
                } else {
                    Look::Settled(quiet)
                }
            }
            _ => {
                self.pending = Some((stamps, now));
                Look::Changing
            }
        }
    }

    /// Marks the state of the last check as known, whether or not it was applied.
    pub fn accept(&mut self) {
        if let Some((stamps, _)) = self.pending.take() {
            self.accepted = stamps;
        }
    }
}

fn metadata(path: &Path) -> Option<Metadata> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    ))
}

fn stamp(path: &Path) -> Stamp {
    let metadata = metadata(path)?;
    let mut hasher = DefaultHasher::new();
    std::fs::read(path).ok()?.hash(&mut hasher);
    Some((metadata, hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_settled_when_two_looks_apart_find_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "one").unwrap();
        let mut files = WatchedFiles::new(vec![path.clone()]);
        let start = Instant::now();
        assert_eq!(files.look(start), Look::Unchanged);
        std::fs::write(&path, "").unwrap();
        assert_eq!(files.look(start), Look::Changing);
        std::fs::write(&path, "one t").unwrap();
        assert_eq!(
            files.look(start + SETTLE),
            Look::Changing,
            "it is still being written"
        );
        assert_eq!(files.look(start + SETTLE), Look::Changing, "too soon");
        assert_eq!(files.look(start + 2 * SETTLE), Look::Settled(SETTLE));
        files.accept();
        assert_eq!(files.look(start + 3 * SETTLE), Look::Unchanged);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(files.look(start), Look::Changing);
        assert_eq!(files.look(start + SETTLE), Look::Settled(SETTLE));
    }
}
