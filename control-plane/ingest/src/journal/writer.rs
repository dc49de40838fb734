//! The writer thread.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::journal::files::{AppendFile, Files};
use crate::journal::report::Report;
use crate::journal::segment::{self, Position, Segment, SegmentOrigin, Segments};
use crate::journal::{Append, Backlog, JournalError, frame};

/// Size after which a new segment is started.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Limit on the bytes of one fsync.
const GROUP_BYTES: usize = 8 << 20;

pub struct Writer {
    files: Arc<dyn Files>,
    folder: PathBuf,
    /// The current segment; created on the first write.
    file: Option<Box<dyn AppendFile>>,
    end: Position,
    /// The number of the next frame in the segment.
    sequence: u32,
    segments: Segments,
    durable: watch::Sender<Position>,
    backlog: Arc<Backlog>,
    report: Report,
    buffer: Vec<u8>,
}

impl Writer {
    pub fn new(
        files: Arc<dyn Files>,
        folder: &Path,
        number: u64,
        segments: Segments,
        durable: watch::Sender<Position>,
        backlog: Arc<Backlog>,
        report: Report,
    ) -> Self {
        Self {
            files,
            folder: folder.to_owned(),
            file: None,
            end: Position {
                segment: number,
                offset: 0,
            },
            sequence: 0,
            segments,
            durable,
            backlog,
            report,
            buffer: Vec::new(),
        }
    }

    /// Runs until all senders are dropped.
    pub fn run(mut self, mut appends: mpsc::Receiver<Append>) {
        while let Some(first) = appends.blocking_recv() {
            if self.end.offset >= SEGMENT_BYTES {
                self.seal();
            }
            self.buffer.clear();
            let mut waiting = Vec::new();
            self.add(first, &mut waiting);
            while self.buffer.len() < GROUP_BYTES
                && let Ok(next) = appends.try_recv()
            {
                self.add(next, &mut waiting);
            }
            let written = self.write_group().map_err(Arc::new);
            match &written {
                Ok(()) => self.report.writable(),
                Err(error) => self.report.unwritable(error),
            }
            for done in waiting {
                // If the caller is gone, it will send its record again; the store recognizes
                // duplicates.
                let _ = done.send(written.clone().map_err(JournalError::Io));
            }
            self.buffer.shrink_to(GROUP_BYTES * 2);
        }
    }

    fn add(
        &mut self,
        append: Append,
        waiting: &mut Vec<tokio::sync::oneshot::Sender<Result<(), JournalError>>>,
    ) {
        frame::write(self.sequence, &append.payload, &mut self.buffer);
        self.sequence = self.sequence.wrapping_add(1);
        waiting.push(append.done);
    }

    /// Writes the buffer. On an error none of it is in the journal, and the next group starts a
    /// segment.
    fn write_group(&mut self) -> std::io::Result<()> {
        let written = self.try_write();
        if written.is_err() {
            if let Some(file) = &self.file {
                // Truncates unacknowledged frames. If that fails too, readers of this process stop
                // before them, thanks to the list of segments. Later processes find a torn end, or
                // duplicate records.
                let _ = file.truncate(self.end.offset).and_then(|()| file.sync());
            }
            self.seal();
        }
        written
    }

    fn try_write(&mut self) -> std::io::Result<()> {
        let number = self.end.segment;
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.files.create(&segment::path(&self.folder, number))?),
        };
        file.append(&self.buffer)?;
        file.sync()?;
        let length = self.buffer.len() as u64;
        let end = self.end.offset + length;
        if file.length()? != end {
            return Err(Error::new(
                ErrorKind::InvalidData,
                format!("segment {number} was changed by another program"),
            ));
        }
        self.end.offset = end;
        self.segments.set(
            number,
            Segment {
                bytes: end,
                origin: SegmentOrigin::This,
            },
        );
        self.backlog.add(length);
        self.durable.send_replace(self.end);
        Ok(())
    }

    /// Ends the segment; the next write starts a new one.
    fn seal(&mut self) {
        self.sequence = 0;
        let had_file = self.file.take().is_some();
        let path = segment::path(&self.folder, self.end.segment);
        if self.end.offset == 0 {
            if had_file {
                // None of it was acknowledged. If the file remains, the next process reads it.
                let _ = self.files.remove(&path);
            } else if self.files.length(&path).is_err() {
                // The file could not be created, so its number is still free.
                return;
            }
        }
        self.end = Position {
            segment: self.end.segment + 1,
            offset: 0,
        };
        self.durable.send_replace(self.end);
    }
}
