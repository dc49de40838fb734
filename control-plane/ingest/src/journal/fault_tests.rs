//! Tests of every kind of disk failure: acknowledged records arrive, and the fault is reported.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::faults::{DiskCall, DiskFault, FaultyFiles};
use super::*;
use opentracy_base::health::HealthCode;

const ERRORS: [Errno; 5] = [
    Errno::IO,
    Errno::ACCESS,
    Errno::MFILE,
    Errno::STALE,
    Errno::NOENT,
];

/// A journal in its own folder, on a faulty disk.
struct World {
    folder: tempfile::TempDir,
    files: FaultyFiles,
    health: HealthRegistry,
    runtime: tokio::runtime::Runtime,
    open: Option<(Journal, Reader, Bookmark)>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            folder: tempfile::tempdir().unwrap(),
            files: FaultyFiles::default(),
            health: HealthRegistry::default(),
            runtime: tokio::runtime::Runtime::new().unwrap(),
            open: None,
        };
        world.start();
        world
    }

    /// Starts the journal; if it is running, simulates a kill.
    fn start(&mut self) {
        self.open = None;
        self.health = HealthRegistry::default();
        let files = Arc::new(self.files.clone());
        let health = self.health.clone();
        self.open = Some(open_with(files, self.folder.path(), 1 << 30, health).unwrap());
    }

    fn journal(&self) -> &Journal {
        &self.open.as_ref().unwrap().0
    }

    fn append(&self, text: &str) -> Result<(), JournalError> {
        let payload = text.as_bytes().to_vec();
        self.runtime.block_on(self.journal().append(payload))
    }

    fn append_all(&self, texts: Range<u32>) {
        for number in texts {
            self.append(&text(number)).unwrap();
        }
    }

    /// Reads until `expected` records arrived, and a little longer, and marks them as stored.
    fn drain(&mut self, expected: usize) -> Vec<String> {
        let (_, reader, bookmark) = self.open.as_mut().unwrap();
        let mut texts = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut rounds = 0;
        while rounds < 30 {
            if texts.len() >= expected || Instant::now() > deadline {
                rounds += 1;
            }
            let batch = reader.next(64);
            let payloads = batch.payloads.into_iter();
            texts.extend(payloads.map(|payload| String::from_utf8(payload).unwrap()));
            bookmark.advance(&batch.progress);
            std::thread::sleep(Duration::from_millis(1));
        }
        texts
    }

    fn segments(&self) -> Vec<PathBuf> {
        let numbers = segment::list(&Disk, self.folder.path()).unwrap();
        let path = |&number| segment::path(self.folder.path(), number);
        numbers.iter().map(path).collect()
    }

    fn has_fault(&self, code: HealthCode) -> bool {
        self.health.count(code) > 0
    }
}

fn text(number: u32) -> String {
    format!("record {number}")
}

fn texts(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(text).collect()
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort_by_key(|text| text[7..].parse::<u32>().unwrap());
    texts
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn a_segment_that_can_not_be_read_is_kept_until_it_can() {
    for call in [DiskCall::Open, DiskCall::Length, DiskCall::ReadAt] {
        for error in ERRORS {
            let mut world = World::new();
            world.append_all(0..10);
            let unreadable = world.segments()[0].clone();
            world
                .files
                .fail(call, &name(&unreadable), DiskFault::Error(error));
            world.start();
            world.append_all(10..20);
            let case = format!("{call:?} {error:?}");
            // Newer segments are stored in the meantime.
            assert_eq!(world.drain(10), texts(10..20), "{case}");
            assert!(world.has_fault(HealthCode::JournalRead), "{case}");
            assert!(world.journal().figures().read_errors.get() > 1, "{case}");
            assert!(unreadable.exists(), "{case}");
            assert!(world.journal().backlog_bytes() > 0 || call == DiskCall::Length);
            // The state survives a restart.
            world.start();
            assert_eq!(world.drain(0), texts([]), "{case}");
            assert!(unreadable.exists(), "{case}");
            world.files.heal();
            assert_eq!(world.drain(10), texts(0..10), "{case}");
            assert!(!world.health.is_degraded(), "{case}");
            assert!(!unreadable.exists(), "{case}");
            assert_eq!(world.journal().backlog_bytes(), 0, "{case}");
        }
    }
}

#[test]
fn the_segment_under_construction_is_waited_for() {
    for call in [DiskCall::Open, DiskCall::ReadAt] {
        for error in ERRORS {
            let mut world = World::new();
            world.files.fail(call, ".log", DiskFault::Error(error));
            world.append_all(0..10);
            assert_eq!(world.drain(0), texts([]));
            assert!(world.has_fault(HealthCode::JournalRead));
            world.append_all(10..20);
            assert_eq!(world.drain(0), texts([]));
            world.files.heal();
            assert_eq!(world.drain(20), texts(0..20), "{call:?} {error:?}");
            assert!(!world.health.is_degraded());
        }
    }
}

#[test]
fn a_segment_that_fails_in_its_middle_is_read_on_there() {
    let mut world = World::new();
    world.append_all(0..10);
    let (_, reader, bookmark) = world.open.as_mut().unwrap();
    let batch = reader.next(20);
    assert_eq!(batch.payloads.len(), 3);
    bookmark.advance(&batch.progress);
    world
        .files
        .fail(DiskCall::Open, ".log", DiskFault::Error(Errno::IO));
    world.start();
    assert_eq!(world.drain(0), texts([]));
    world.files.heal();
    assert_eq!(world.drain(7), texts(3..10));
}

#[test]
fn short_reads_lose_nothing() {
    for length in [1, 3, 7] {
        let mut world = World::new();
        world
            .files
            .fail(DiskCall::ReadAt, ".log", DiskFault::Short(length));
        world.append_all(0..10);
        assert_eq!(world.drain(10), texts(0..10));
        assert!(!world.health.is_degraded());
    }
}

#[test]
fn a_file_that_ends_before_its_length_is_not_passed() {
    let mut world = World::new();
    world.append_all(0..10);
    world
        .files
        .fail(DiskCall::ReadAt, ".log", DiskFault::Short(0));
    world.start();
    assert_eq!(world.drain(0), texts([]));
    assert!(world.has_fault(HealthCode::JournalRead));
    world.files.heal();
    assert_eq!(world.drain(10), texts(0..10));
}

#[test]
fn nothing_is_acknowledged_that_the_disk_did_not_take() {
    let refusals = [
        (DiskCall::Append, DiskFault::Error(Errno::IO)),
        (DiskCall::Append, DiskFault::Error(Errno::NOSPC)),
        (DiskCall::Append, DiskFault::Short(0)),
        (DiskCall::Append, DiskFault::Short(5)),
        (DiskCall::Append, DiskFault::Short(25)),
        (DiskCall::Sync, DiskFault::Error(Errno::IO)),
        (DiskCall::Sync, DiskFault::Error(Errno::NOSPC)),
    ];
    for (call, fault) in refusals {
        // In the second round, truncating the partial write fails too.
        for leaves_rest in [false, true] {
            let mut world = World::new();
            let mut acknowledged = Vec::new();
            for round in 0..3 {
                for number in round * 10..round * 10 + 5 {
                    world.append(&text(number)).unwrap();
                    acknowledged.push(text(number));
                }
                world.files.fail(call, ".log", fault);
                if leaves_rest {
                    for call in [DiskCall::Truncate, DiskCall::Remove] {
                        world.files.fail(call, ".log", DiskFault::Error(Errno::IO));
                    }
                }
                let number = round * 10 + 5;
                let error = world.append(&text(number)).unwrap_err();
                assert!(matches!(error, JournalError::Io(_)), "{error}");
                assert!(world.has_fault(HealthCode::JournalWrite));
                assert!(world.append(&text(number)).is_err());
                world.files.heal();
            }
            world.append_all(90..95);
            acknowledged.extend(texts(90..95));
            assert!(!world.has_fault(HealthCode::JournalWrite));
            let case = format!("{call:?} {fault:?} {leaves_rest}");
            if leaves_rest {
                // After a restart, the unacknowledged frame may be found, complete or torn.
                world.start();
                let mut read = world.drain(acknowledged.len());
                read.retain(|text| acknowledged.contains(text));
                assert_eq!(read, acknowledged, "{case}");
            } else {
                assert_eq!(world.drain(acknowledged.len()), acknowledged, "{case}");
            }
            assert!(!world.health.is_degraded(), "{case}");
        }
    }
}

#[test]
fn a_segment_that_can_not_be_created_is_created_later() {
    for error in [Errno::NOSPC, Errno::MFILE, Errno::EXIST] {
        let mut world = World::new();
        world
            .files
            .fail(DiskCall::Create, ".log", DiskFault::Error(error));
        for number in 0..3 {
            assert!(world.append(&text(number)).is_err());
        }
        assert!(world.has_fault(HealthCode::JournalWrite));
        world.files.heal();
        world.append_all(3..6);
        assert_eq!(world.drain(3), texts(3..6), "{error:?}");
        assert!(!world.health.is_degraded());
    }
}

#[test]
fn a_bookmark_that_can_not_be_written_loses_nothing() {
    for error in [Errno::NOSPC, Errno::IO, Errno::ACCESS, Errno::MFILE] {
        let mut world = World::new();
        world.append_all(0..10);
        for call in [DiskCall::Replace, DiskCall::Overwrite] {
            world.files.fail(call, "position", DiskFault::Error(error));
        }
        assert_eq!(world.drain(10), texts(0..10));
        assert!(world.has_fault(HealthCode::JournalBookmark));
        assert!(world.journal().figures().bookmark_errors.get() > 0);
        world.append_all(10..20);
        world.start();
        // Some records are read again, and none are missing.
        assert_eq!(sorted(world.drain(20)), texts(0..20));
        world.files.heal();
        world.drain(0);
        assert!(!world.health.is_degraded());
        world.start();
        assert_eq!(world.drain(0), texts([]));
    }
}

#[test]
fn on_a_full_disk_the_bookmark_is_written_in_place() {
    let mut world = World::new();
    world.append_all(0..5);
    world.drain(5);
    world.files.fail(
        DiskCall::Replace,
        "position",
        DiskFault::Error(Errno::NOSPC),
    );
    world.append_all(5..10);
    assert_eq!(world.drain(5), texts(5..10));
    assert!(!world.health.is_degraded());
    world.start();
    assert_eq!(world.drain(0), texts([]));
}

#[test]
fn a_bookmark_that_is_damaged_or_unreadable_begins_at_the_first_segment() {
    for damage in [Some("9 9 9"), Some(""), Some("v2 00000000 99 0\n"), None] {
        let mut world = World::new();
        world.append_all(0..10);
        assert_eq!(world.drain(10), texts(0..10));
        match damage {
            Some(line) => std::fs::write(world.folder.path().join("position"), line).unwrap(),
            None => world
                .files
                .fail(DiskCall::Read, "position", DiskFault::Error(Errno::IO)),
        }
        world.start();
        assert_eq!(world.drain(10), texts(0..10), "{damage:?}");
    }
}

#[test]
fn a_segment_that_can_not_be_removed_is_removed_later() {
    let mut world = World::new();
    world.append_all(0..5);
    world.start();
    world
        .files
        .fail(DiskCall::Remove, ".log", DiskFault::Error(Errno::ACCESS));
    world.append_all(5..10);
    assert_eq!(world.drain(10), texts(0..10));
    assert!(world.has_fault(HealthCode::JournalBookmark));
    assert_eq!(world.segments().len(), 2);
    // The next process knows that the store has the segment.
    world.start();
    assert_eq!(world.drain(0), texts([]));
    assert_eq!(world.segments().len(), 2);
    world.files.heal();
    world.append_all(10..11);
    assert_eq!(world.drain(1), texts(10..11));
    assert!(!world.health.is_degraded());
    assert_eq!(world.segments().len(), 1);
}

#[test]
fn a_damaged_segment_is_kept_where_links_are_not_to_be_had() {
    for link_fails in [false, true] {
        let mut world = World::new();
        world.append_all(0..3);
        let path = world.segments()[0].clone();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[1] ^= 4;
        std::fs::write(&path, &bytes).unwrap();
        if link_fails {
            world
                .files
                .fail(DiskCall::Link, ".log", DiskFault::Error(Errno::PERM));
        }
        world.start();
        assert_eq!(world.drain(2), texts(1..3));
        assert!(!path.exists());
        let kept = path.with_extension("damaged");
        assert_eq!(std::fs::read(&kept).unwrap(), bytes);
        assert!(world.has_fault(HealthCode::JournalDamage));
        // A restart doesn't clear the fault; removing the files does.
        world.start();
        assert!(world.has_fault(HealthCode::JournalDamage));
        std::fs::remove_file(kept).unwrap();
        world.drain(0);
        assert!(!world.health.is_degraded());
    }
}

#[test]
fn the_number_of_damaged_segments_that_are_kept_is_bounded() {
    let mut world = World::new();
    for _ in 0..report::MAX_DAMAGED + 4 {
        world.append_all(0..2);
        let path = world.segments().pop().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[9] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        world.start();
        assert_eq!(world.drain(1), texts(1..2));
    }
    let kept = segment::list_damaged(&Disk, world.folder.path()).unwrap();
    assert_eq!(kept.len(), report::MAX_DAMAGED);
}

#[test]
fn a_program_that_cuts_the_segment_under_construction_is_noticed() {
    let mut world = World::new();
    world.append_all(0..3);
    world.drain(3);
    let path = world.segments()[0].clone();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(10).unwrap();
    assert!(world.append(&text(3)).is_err());
    world.append_all(4..6);
    assert_eq!(world.drain(2), texts(4..6));
}
