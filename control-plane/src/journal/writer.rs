//! The thread that appends.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::journal::segment::{self, Position};
use crate::journal::{Append, Backlog, JournalError, frame};

/// A segment that has grown beyond this is followed by a new one.
const SEGMENT_BYTES: u64 = 64 << 20;
/// What goes down with one sync at most.
const GROUP_BYTES: usize = 8 << 20;

pub struct Writer {
    folder: PathBuf,
    /// The segment under construction; made when there is something to put in it.
    file: Option<File>,
    end: Position,
    durable: watch::Sender<Position>,
    backlog: Arc<Backlog>,
    buffer: Vec<u8>,
    is_failing: bool,
}

impl Writer {
    pub fn new(
        folder: &Path,
        number: u64,
        durable: watch::Sender<Position>,
        backlog: Arc<Backlog>,
    ) -> Self {
        Self {
            folder: folder.to_owned(),
            file: None,
            end: Position {
                segment: number,
                offset: 0,
            },
            durable,
            backlog,
            buffer: Vec::new(),
            is_failing: false,
        }
    }

    /// Runs until nobody can append any more.
    pub fn run(mut self, mut appends: mpsc::Receiver<Append>) {
        while let Some(first) = appends.blocking_recv() {
            self.buffer.clear();
            frame::write(&first.payload, &mut self.buffer);
            let mut waiting = vec![first.done];
            while self.buffer.len() < GROUP_BYTES
                && let Ok(next) = appends.try_recv()
            {
                frame::write(&next.payload, &mut self.buffer);
                waiting.push(next.done);
            }
            let written = self.write_group().map_err(Arc::new);
            self.tell(written.as_ref().err());
            for done in waiting {
                // A caller that has gone will send its record again, and the store will know it.
                let _ = done.send(written.clone().map_err(JournalError::Io));
            }
            self.buffer.shrink_to(GROUP_BYTES * 2);
        }
    }

    /// Writes what is in the buffer. After an error nothing of it is in the journal.
    fn write_group(&mut self) -> std::io::Result<()> {
        if self.end.offset >= SEGMENT_BYTES {
            self.begin_segment();
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(create(&self.folder, self.end.segment)?),
        };
        let written = file.write_all(&self.buffer).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // What a failed sync has left of the file nobody knows, so it ends where it was whole. Where not even that
            // can be done, the rest is a torn end.
            let _ = file
                .set_len(self.end.offset)
                .and_then(|()| file.sync_data());
            self.begin_segment();
            return Err(error);
        }
        let length = self.buffer.len() as u64;
        self.end.offset += length;
        self.backlog.add(length);
        self.durable.send_replace(self.end);
        Ok(())
    }

    /// Leaves the segment, so that it can go when the store has it.
    fn begin_segment(&mut self) {
        self.file = None;
        if self.end.offset == 0 {
            // Nothing is in it. An error leaves an empty file behind.
            let _ = std::fs::remove_file(segment::path(&self.folder, self.end.segment));
            return;
        }
        self.end = Position {
            segment: self.end.segment + 1,
            offset: 0,
        };
        self.durable.send_replace(self.end);
    }

    /// Says once that writing fails, and once that it works again.
    fn tell(&mut self, error: Option<&Arc<std::io::Error>>) {
        match error {
            Some(error) if !self.is_failing => tracing::error!(
                folder = %self.folder.display(),
                "the journal can't be written, traces stay with Envoy until it can: {error}"
            ),
            None if self.is_failing => tracing::info!("the journal can be written again"),
            _ => {}
        }
        self.is_failing = error.is_some();
    }
}

fn create(folder: &Path, number: u64) -> std::io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(segment::path(folder, number))?;
    // A file is there after a loss of power when its folder was synced.
    File::open(folder)?.sync_all()?;
    Ok(file)
}
