//! The side that follows, on the store's behalf.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use tokio::sync::watch;

use crate::journal::bookmark::Damaged;
use crate::journal::frame;
use crate::journal::segment::{self, Position};

/// What is read from a file at once.
const READ_BYTES: usize = 1 << 20;

/// Some payloads in their order, and where they end.
#[derive(Debug)]
pub struct Batch {
    pub payloads: Vec<Vec<u8>>,
    pub end: Position,
}

#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    position: Position,
    /// All before it is on disk.
    durable: watch::Receiver<Position>,
    file: Option<File>,
    /// What was read of the file from `position` on.
    buffer: Vec<u8>,
    /// How much of the buffer is done with.
    consumed: usize,
    damaged: Damaged,
}

impl Reader {
    pub(super) fn new(
        folder: &Path,
        start: Position,
        durable: watch::Receiver<Position>,
        damaged: Damaged,
    ) -> Self {
        Self {
            folder: folder.to_owned(),
            position: start,
            durable,
            file: None,
            buffer: Vec::new(),
            consumed: 0,
            damaged,
        }
    }

    /// Waits for more. `false` when no more will come.
    pub async fn wait(&mut self) -> bool {
        self.durable.changed().await.is_ok()
    }

    /// What comes next, of about so many bytes. Nothing when all was read, and then `end` is where all is on disk.
    pub fn next(&mut self, max_bytes: usize) -> Batch {
        let durable = self.durable();
        let mut payloads = Vec::new();
        let mut bytes = 0;
        while bytes < max_bytes
            && let Some(payload) = self.next_payload()
        {
            bytes += payload.len();
            payloads.push(payload);
        }
        let end = if payloads.is_empty() {
            self.position.max(durable)
        } else {
            self.position
        };
        Batch { payloads, end }
    }

    fn durable(&self) -> Position {
        *self.durable.borrow()
    }

    fn next_payload(&mut self) -> Option<Vec<u8>> {
        loop {
            let rest = &self.buffer[self.consumed..];
            match frame::find(rest) {
                frame::Found::Frame(length) => {
                    let payload = rest[frame::HEADER..frame::HEADER + length].to_vec();
                    self.advance(frame::HEADER + length);
                    return Some(payload);
                }
                frame::Found::Short(wanted) => {
                    if self.fill(wanted) {
                        continue;
                    }
                    if !self.end_of_segment() {
                        return None;
                    }
                }
                frame::Found::Damaged => self.step_over(),
            }
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.consumed += bytes;
        self.position.offset += bytes as u64;
    }

    /// Reads on until `wanted` bytes are there. `false` when there are no more in this segment for now.
    fn fill(&mut self, wanted: usize) -> bool {
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        let durable = self.durable();
        let available = if durable.segment == self.position.segment {
            durable.offset.saturating_sub(self.position.offset)
        } else {
            u64::MAX
        };
        if available < wanted as u64 {
            return false;
        }
        match self.read(wanted) {
            Ok(()) => self.buffer.len() >= wanted,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => {
                tracing::error!(
                    segment = self.position.segment,
                    "the journal can't be read: {error}"
                );
                false
            }
        }
    }

    fn read(&mut self, wanted: usize) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut file = File::open(segment::path(&self.folder, self.position.segment))?;
                file.seek(SeekFrom::Start(self.position.offset))?;
                none.insert(file)
            }
        };
        let more = wanted.max(READ_BYTES) - self.buffer.len();
        file.take(more as u64).read_to_end(&mut self.buffer)?;
        Ok(())
    }

    /// Goes to the next segment, if this one is over.
    fn end_of_segment(&mut self) -> bool {
        if self.position.segment >= self.durable().segment {
            return false;
        }
        let torn = self.buffer.len() - self.consumed;
        if torn > 0 {
            tracing::warn!(
                segment = self.position.segment,
                "the last {torn} bytes of a segment of the journal were never finished, and so never acknowledged: they are left out"
            );
        }
        self.buffer.clear();
        self.consumed = 0;
        self.file = None;
        self.position = Position {
            segment: self.position.segment + 1,
            offset: 0,
        };
        true
    }

    /// Goes on behind damage.
    fn step_over(&mut self) {
        if self.damaged.add(self.position.segment) {
            tracing::error!(
                segment = self.position.segment,
                offset = self.position.offset,
                "the journal is damaged here; what can be read behind it is read, and the segment is kept as `.damaged`"
            );
        }
        let rest = &self.buffer[self.consumed..];
        // Without a mark all but what may be the beginning of one goes.
        let skipped = frame::next_mark(rest).unwrap_or_else(|| rest.len().saturating_sub(3).max(1));
        self.advance(skipped);
    }
}
