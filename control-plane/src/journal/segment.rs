//! The files of a journal.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};

/// A place in a journal: all before it was read, or written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub segment: u64,
    pub offset: u64,
}

const REMEMBERED: &str = "position";

pub fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:020}.log"))
}

/// The numbers of all segments, in order.
pub fn list(folder: &Path) -> std::io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number: Option<u64> = name
            .to_str()
            .and_then(|name| name.strip_suffix(".log"))
            .and_then(|number| number.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes sure that no other process has the journal, for as long as the file is open.
pub fn lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("lock");
    let file =
        File::create(&path).with_context(|| format!("{} can't be written", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!(
            "another control plane is using {}; stop it, or set `journal.path` to a folder of this one's own",
            folder.display()
        );
    }
    Ok(file)
}

/// Where the store has come to. Without it, reading begins at the first segment.
pub fn remembered(folder: &Path) -> Option<Position> {
    let text = std::fs::read_to_string(folder.join(REMEMBERED)).ok()?;
    let (segment, offset) = text.trim().split_once(' ')?;
    Some(Position {
        segment: segment.parse().ok()?,
        offset: offset.parse().ok()?,
    })
}

/// Keeps where the store has come to. An older one may be found after a loss of power, which does no harm.
pub fn remember(folder: &Path, position: Position) -> std::io::Result<()> {
    let draft = folder.join("position.new");
    std::fs::write(
        &draft,
        format!("{} {}\n", position.segment, position.offset),
    )?;
    std::fs::rename(draft, folder.join(REMEMBERED))
}
