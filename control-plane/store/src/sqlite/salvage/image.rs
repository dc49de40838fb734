//! The pages of a SQLite file, with the committed pages of its write-ahead log applied.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The page size of files from this program, used if the header is damaged.
const PAGE_SIZE: u64 = 8192;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const LOG_HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;

#[derive(Debug)]
pub struct Image {
    file: File,
    page_size: u64,
    /// Reserved bytes at the end of each page.
    reserved: u64,
    pages: u64,
    log: Option<Log>,
}

/// The pages that were committed to the log.
#[derive(Debug)]
struct Log {
    file: File,
    /// The offset of the latest version of each page.
    offsets: HashMap<u64, u64>,
}

impl Image {
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file =
            File::open(path).with_context(|| format!("{} can't be opened", path.display()))?;
        let length = file.metadata()?.len();
        let mut header = [0; 100];
        // A file too short for the header has no pages.
        let _ = file.read_exact_at(&mut header, 0);
        let (mut page_size, mut reserved) = (PAGE_SIZE, 0);
        let written = match u64::from(u16::from_be_bytes([header[16], header[17]])) {
            1 => 65_536,
            size => size,
        };
        if header.starts_with(MAGIC) && written.is_power_of_two() && written >= 512 {
            (page_size, reserved) = (written, u64::from(header[20]));
        }
        let log = Log::open(&log_path(path), page_size);
        let in_log = log.iter().flat_map(|log| log.offsets.keys()).max();
        let pages = length
            .div_ceil(page_size)
            .max(in_log.copied().unwrap_or_default());
        Ok(Self {
            file,
            page_size,
            reserved,
            pages,
            log,
        })
    }

    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Returns the bytes of a page that hold content.
    pub fn usable(&self) -> usize {
        usize::try_from(self.page_size - self.reserved).unwrap_or_default()
    }

    /// Reads a page by its number, counted from 1.
    pub fn page(&self, number: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.page_size).unwrap_or_default()];
        let in_log = self
            .log
            .as_ref()
            .and_then(|log| Some((&log.file, *log.offsets.get(&number)?)));
        let before = number.checked_sub(1).ok_or(io::ErrorKind::InvalidInput)?;
        let (file, offset) = in_log.unwrap_or((&self.file, before * self.page_size));
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

pub fn log_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

impl Log {
    /// Reads which pages a log holds. Returns `None` if the log is missing or its page size
    /// differs.
    fn open(path: &Path, page_size: u64) -> Option<Self> {
        let file = File::open(path).ok()?;
        let length = file.metadata().ok()?.len();
        let mut header = [0; LOG_HEADER as usize];
        file.read_exact_at(&mut header, 0).ok()?;
        let word = |bytes: &[u8], at: usize| {
            bytes
                .get(at..)
                .and_then(|bytes| bytes.first_chunk())
                .map_or(0, |word| u32::from_be_bytes(*word))
        };
        let is_log = matches!(word(&header, 0), 0x377f_0682 | 0x377f_0683);
        if !is_log || u64::from(word(&header, 8)) != page_size {
            return None;
        }
        let salts = header.get(16..24)?;
        let mut offsets = HashMap::new();
        let mut uncommitted = Vec::new();
        let mut offset = LOG_HEADER;
        while offset + FRAME_HEADER + page_size <= length {
            let mut frame = [0; FRAME_HEADER as usize];
            file.read_exact_at(&mut frame, offset).ok()?;
            // Older frames, from before a log reset, have different salts.
            if frame.get(8..16) != Some(salts) {
                break;
            }
            uncommitted.push((u64::from(word(&frame, 0)), offset + FRAME_HEADER));
            if word(&frame, 4) != 0 {
                offsets.extend(uncommitted.drain(..));
            }
            offset += FRAME_HEADER + page_size;
        }
        Some(Self { file, offsets })
    }
}
