//! Reads the frames of one segment and skips damage.

use std::io::{Error, ErrorKind};
use std::path::Path;

use crate::journal::files::{Files, ReadFile};
use crate::journal::frame::{self, Frame, FrameFormat, Parsed};
use crate::journal::segment;

/// Bytes in one read.
const READ_BYTES: usize = 1 << 20;

/// A read position in a segment.
#[derive(Debug)]
pub struct SegmentCursor {
    pub segment: u64,
    /// The offset of the next frame.
    pub offset: u64,
    file: Option<Open>,
    /// Read-ahead: `consumed` bytes that were used, then the file's bytes from `offset` on.
    buffer: Vec<u8>,
    /// Length of the used part of the buffer.
    consumed: usize,
    /// Known after the first frame.
    format: Option<FrameFormat>,
    /// The expected number of the next frame, if known.
    sequence: Option<u32>,
}

#[derive(Debug)]
struct Open {
    file: Box<dyn ReadFile>,
    length: u64,
}

/// The end of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The exact end of the last frame that this process wrote.
    At(u64),
    /// The end of the file. An earlier process may have left a partial frame there.
    OfFile,
}

/// The next item in a segment.
#[derive(Debug, PartialEq, Eq)]
pub enum CursorStep {
    Payload(Vec<u8>),
    /// A damaged range that held frames.
    Damage(Damage),
    /// The length of a partial frame at the end, which was never acknowledged.
    Torn(u64),
    /// The end, for now or for good.
    End,
}

/// A range of bytes that are not frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    pub offset: u64,
    pub bytes: u64,
    /// The number of frames that were lost; `None` if unknown, which means at least one.
    pub lost_frames: Option<u32>,
}

impl SegmentCursor {
    pub fn new(segment: u64, offset: u64) -> Self {
        Self {
            segment,
            offset,
            file: None,
            buffer: Vec::new(),
            consumed: 0,
            format: None,
            sequence: (offset == 0).then_some(0),
        }
    }

    /// Reads the next frame. On an error it advances nowhere, so it can be called again.
    pub fn next(
        &mut self,
        files: &dyn Files,
        folder: &Path,
        end: End,
    ) -> std::io::Result<CursorStep> {
        if end == End::At(self.offset) {
            return Ok(CursorStep::End);
        }
        let step = self.try_next(files, folder, end);
        if step.is_err() {
            // After recovery it may be a different or longer file.
            self.file = None;
        }
        step
    }

    fn try_next(
        &mut self,
        files: &dyn Files,
        folder: &Path,
        end: End,
    ) -> std::io::Result<CursorStep> {
        let length = match &self.file {
            Some(open) => open.length,
            None => {
                let file = files.open(&segment::path(folder, self.segment))?;
                let length = file.length()?;
                self.file = Some(Open { file, length });
                length
            }
        };
        let limit = match end {
            End::At(limit) => limit,
            End::OfFile => length,
        };
        loop {
            match frame::parse(self.rest(), self.format) {
                Parsed::Frame(frame) => {
                    if let Some(lost) = self.missing_before(&frame) {
                        return Ok(CursorStep::Damage(lost));
                    }
                    return Ok(CursorStep::Payload(self.take(frame)));
                }
                Parsed::Short(wanted) => {
                    if self.offset.saturating_add(wanted as u64) <= limit {
                        self.fill(wanted, limit)?;
                    } else if self.offset >= limit {
                        return Ok(CursorStep::End);
                    } else {
                        return self.resync(limit, end);
                    }
                }
                Parsed::Damaged => return self.resync(limit, end),
            }
        }
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.consumed..).unwrap_or_default()
    }

    fn take(&mut self, frame: Frame) -> Vec<u8> {
        let payload = self.rest().get(frame.payload.clone());
        let payload = payload.unwrap_or_default().to_vec();
        self.format = Some(frame.format);
        self.sequence = frame.sequence.map(|number| number.wrapping_add(1));
        self.skip(frame.payload.end);
        payload
    }

    fn skip(&mut self, bytes: usize) {
        self.consumed += bytes;
        self.offset += bytes as u64;
    }

    /// Reads until the buffer holds at least `wanted` bytes from the offset on.
    fn fill(&mut self, wanted: usize, limit: u64) -> std::io::Result<()> {
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        let available = usize::try_from(limit - self.offset).unwrap_or(usize::MAX);
        let target = wanted.max(READ_BYTES).min(available);
        let Some(open) = &self.file else {
            return Err(Error::from(ErrorKind::NotFound));
        };
        while self.buffer.len() < target {
            let have = self.buffer.len();
            self.buffer.resize(target, 0);
            let unread = self.buffer.get_mut(have..).unwrap_or_default();
            let read = open.file.read_at(unread, self.offset + have as u64);
            self.buffer.truncate(have + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) if self.buffer.len() < wanted => {
                    return Err(Error::new(
                        ErrorKind::UnexpectedEof,
                        format!(
                            "the file ends at byte {}, but had {limit} bytes before",
                            self.offset + have as u64
                        ),
                    ));
                }
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Bytes read before the error are valid.
                Err(_) if self.buffer.len() >= wanted => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Finds the next frame after damage. A mark counts only if its frame's checksums match.
    fn resync(&mut self, limit: u64, end: End) -> std::io::Result<CursorStep> {
        let total = usize::try_from(limit - self.offset).unwrap_or(usize::MAX);
        let is_cut = matches!(frame::parse(self.rest(), self.format), Parsed::Short(_));
        let mut from = 1;
        loop {
            while let Some(at) = frame::next_mark(self.rest(), from, self.format) {
                match frame::parse(self.rest().get(at..).unwrap_or_default(), self.format) {
                    Parsed::Frame(frame) => return Ok(CursorStep::Damage(self.jump(at, &frame))),
                    Parsed::Short(wanted) if at.saturating_add(wanted) <= total => {
                        self.fill(at + wanted, limit)?;
                    }
                    Parsed::Short(_) | Parsed::Damaged => from = at + 1,
                }
            }
            let have = self.rest().len();
            if have >= total {
                break;
            }
            // A mark may straddle the end of the buffer.
            from = have.saturating_sub(3).max(1);
            self.fill(have.saturating_add(READ_BYTES).min(total), limit)?;
        }
        let is_torn = end == End::OfFile
            && (is_cut || total < frame::MIN_BYTES || self.rest().iter().all(|&byte| byte == 0));
        let offset = self.offset;
        self.skip(total);
        Ok(if is_torn {
            CursorStep::Torn(total as u64)
        } else {
            CursorStep::Damage(Damage {
                offset,
                bytes: total as u64,
                lost_frames: None,
            })
        })
    }

    /// Detects missing frames by the number of the frame that follows them.
    fn missing_before(&mut self, frame: &Frame) -> Option<Damage> {
        let found = frame.sequence?;
        let expected = self.sequence.replace(found)?;
        let lost = found.checked_sub(expected).filter(|&lost| lost > 0)?;
        Some(Damage {
            offset: self.offset,
            bytes: 0,
            lost_frames: Some(lost),
        })
    }

    /// Continues at a frame after damage.
    fn jump(&mut self, bytes: usize, to: &Frame) -> Damage {
        let lost_frames = match (self.sequence, to.sequence) {
            (Some(expected), Some(found)) => found.checked_sub(expected),
            _ => None,
        };
        let offset = self.offset;
        self.skip(bytes);
        self.sequence = to.sequence;
        Damage {
            offset,
            bytes: bytes as u64,
            lost_frames,
        }
    }
}
