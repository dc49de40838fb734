//! Rebuilds a damaged file.

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rusqlite::Connection;

use crate::sqlite::salvage::{self, Pages, Row};
use crate::sqlite::{Sqlite, inspect};
use crate::words::Words;
use crate::{
    Attempt, AuditEntry, AuditLog as _, Batch, Feedback, FeedbackStore as _, Record, StoreError,
    TraceStore as _,
};

/// Rows in one write.
const BATCH_ROWS: usize = 500;

/// Counts of rescued rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RescuedCounts {
    pub traces: u64,
    pub attempts: u64,
    pub feedback: u64,
    pub audit: u64,
    /// Rows that were readable but that the new file rejected.
    pub refused: u64,
    pub pages: Pages,
}

/// Rows to write to the new file.
#[derive(Default)]
struct Rows {
    batch: Batch,
    feedback: Vec<Feedback>,
    audit: Vec<AuditEntry>,
}

impl Rows {
    fn len(&self) -> usize {
        let Batch { records, attempts } = &self.batch;
        records.len() + attempts.len() + self.feedback.len() + self.audit.len()
    }

    fn add(&mut self, row: Row) {
        match row {
            Row::Trace(record) => {
                let words = words_of(&record);
                self.batch.records.push((*record, words));
            }
            Row::Attempt(attempt) => self.batch.attempts.push(attempt),
            Row::Feedback(feedback) => self.feedback.push(feedback),
            Row::Audit(entry) => self.audit.push(entry),
        }
    }
}

/// Copies the readable rows of a file into a new file that replaces it. Keeps the old file and
/// returns its path. The file must not be in use.
pub async fn repair(path: &Path) -> anyhow::Result<(RescuedCounts, PathBuf)> {
    let draft = with_suffix(path, ".repaired");
    for file in files_of(&draft) {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context(format!("{} can't be removed", file.display()));
            }
            _ => {}
        }
    }
    let rescued = rescue(path, &draft)
        .await
        .with_context(|| format!("{} can't be written", draft.display()))?;
    finish(&draft)?;
    let kept = put_in_place(path, &draft)?;
    Ok((rescued, kept))
}

async fn rescue(path: &Path, draft: &Path) -> anyhow::Result<RescuedCounts> {
    let store = Sqlite::open(draft)?;
    std::fs::set_permissions(draft, std::fs::Permissions::from_mode(0o600))?;
    let mut rescued = RescuedCounts::default();
    let (sender, mut rows) = tokio::sync::mpsc::channel(2);
    let from = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let mut waiting = Rows::default();
        let pages = salvage::rows(&from, |row| {
            waiting.add(row);
            if waiting.len() >= BATCH_ROWS {
                sender.blocking_send(std::mem::take(&mut waiting))?;
            }
            Ok(())
        })?;
        sender.blocking_send(waiting)?;
        anyhow::Ok(pages)
    });
    while let Some(rows) = rows.recv().await {
        write(&store, rows, &mut rescued).await?;
    }
    rescued.pages = reading.await??;
    Ok(rescued)
}

async fn write(store: &Sqlite, rows: Rows, rescued: &mut RescuedCounts) -> anyhow::Result<()> {
    let Rows {
        batch,
        feedback,
        audit,
    } = rows;
    rescued.attempts += batch.attempts.len() as u64;
    rescued.feedback += feedback.len() as u64;
    rescued.audit += audit.len() as u64;
    let attempts = Batch {
        records: Vec::new(),
        attempts: batch.attempts,
    };
    store.write(attempts).await?;
    rescued.traces += write_records(store, batch.records, &mut rescued.refused).await?;
    store.add_feedback(feedback).await?;
    for entry in audit {
        store.note(entry).await?;
    }
    Ok(())
}

/// Writes a batch of records; if it is rejected, writes each of them separately.
async fn write_records(
    store: &Sqlite,
    records: Vec<(Record, String)>,
    refused: &mut u64,
) -> Result<u64, StoreError> {
    let batch = |records| Batch {
        records,
        attempts: Vec::<Attempt>::new(),
    };
    match store.write(batch(records.clone())).await {
        Ok(new) => return Ok(new.len() as u64),
        Err(error) if error.is_about_records() => {}
        Err(error) => return Err(error),
    }
    let mut written = 0;
    for record in records {
        match store.write(batch(vec![record])).await {
            Ok(new) => written += new.len() as u64,
            Err(error) if error.is_about_records() => *refused += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

/// Computes the search terms of a record, as on its arrival.
fn words_of(record: &Record) -> String {
    let mut words = Words::default();
    for body in [&record.request, &record.response].into_iter().flatten() {
        // A truncated body is stored as a string.
        match serde_json::from_str::<String>(body.get()) {
            Ok(text) => words.add(&text),
            // Valid JSON, because it was stored in the record.
            Err(_) => drop(words.add_body(body.get())),
        }
    }
    words.into_text()
}

/// Merges the WAL into the file, checks the file, and removes the WAL.
fn finish(draft: &Path) -> anyhow::Result<()> {
    let connection = Connection::open(draft)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    drop(connection);
    let problems = inspect::inspect(draft)?.problems;
    anyhow::ensure!(
        problems.is_empty(),
        "the new file {} is damaged too: {}",
        draft.display(),
        problems.join("; ")
    );
    for log in files_of(draft).into_iter().skip(1) {
        let _ = std::fs::remove_file(log);
    }
    File::open(draft)?.sync_all()?;
    Ok(())
}

/// Links the old file under a second name, then renames the new one over it. Both are complete at
/// any time, so a crash in between loses nothing.
fn put_in_place(path: &Path, draft: &Path) -> anyhow::Result<PathBuf> {
    let kept = free_name(path);
    let [old, log, shared] = files_of(path);
    let [kept_file, kept_log, _] = files_of(&kept);
    std::fs::hard_link(&old, &kept_file)
        .or_else(|_| std::fs::copy(&old, &kept_file).map(drop))
        .with_context(|| format!("{} can't be kept", old.display()))?;
    if log.exists() {
        // SQLite must not apply the old WAL to the new file.
        std::fs::rename(&log, &kept_log)?;
    }
    let _ = std::fs::remove_file(shared);
    std::fs::rename(draft, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(kept)
}

fn free_name(path: &Path) -> PathBuf {
    let first = with_suffix(path, ".damaged");
    let more = (2..).map(|number| with_suffix(path, &format!(".damaged-{number}")));
    std::iter::once(first)
        .chain(more)
        .find(|name| !name.exists())
        .unwrap_or_else(|| with_suffix(path, ".damaged"))
}

/// Returns the paths of a file, its write-ahead log and its shared memory.
fn files_of(path: &Path) -> [PathBuf; 3] {
    [
        path.to_owned(),
        with_suffix(path, "-wal"),
        with_suffix(path, "-shm"),
    ]
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
