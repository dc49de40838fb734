//! Rebuilds a damaged file.

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::history::SQLITE;
use crate::sqlite::salvage::{self, Pages};
use crate::sqlite::shapes::Shape;
use crate::sqlite::{Sqlite, inspect};
use crate::traces::sqlite::rescue::{Row, recognize};
use crate::words::Words;
use crate::{Attempt, Batch, Record, StoreError, TraceStore as _};

/// Rows in one write.
const BATCH_ROWS: usize = 500;

/// Counts of rescued rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RescuedCounts {
    pub traces: u64,
    pub attempts: u64,
    /// The rows of each table that is copied as it is: its plural, and their number.
    pub others: Vec<(&'static str, u64)>,
    /// Rows that were readable but that the new file rejected.
    pub refused: u64,
    pub pages: Pages,
}

/// Rows to write to the new file.
#[derive(Default)]
struct Rows {
    batch: Batch,
    /// Rows that are copied as they are, each with the index of its shape.
    others: Vec<(usize, Vec<Value>)>,
}

impl Rows {
    fn len(&self) -> usize {
        let Batch { records, attempts } = &self.batch;
        records.len() + attempts.len() + self.others.len()
    }

    fn add(&mut self, values: Vec<Value>, shapes: &[Shape]) {
        match recognize(&values) {
            Some(Row::Trace(record)) => {
                let words = words_of(&record);
                self.batch.records.push((*record, words));
            }
            Some(Row::Attempt(attempt)) => self.batch.attempts.push(attempt),
            None => {
                let shape = shapes.iter().position(|shape| shape.matches(&values));
                self.others.extend(shape.map(|shape| (shape, values)));
            }
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
    let shapes: Arc<[Shape]> = Shape::all(&SQLITE)?.into();
    let plurals = shapes.iter().filter_map(|shape| shape.table.rescued_as);
    let mut rescued = RescuedCounts {
        others: plurals.map(|plural| (plural, 0)).collect(),
        ..RescuedCounts::default()
    };
    let known = Arc::clone(&shapes);
    let (sender, mut rows) = tokio::sync::mpsc::channel(2);
    let from = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let mut waiting = Rows::default();
        let pages = salvage::rows(&from, |row| {
            waiting.add(row, &known);
            if waiting.len() >= BATCH_ROWS {
                sender.blocking_send(std::mem::take(&mut waiting))?;
            }
            Ok(())
        })?;
        sender.blocking_send(waiting)?;
        anyhow::Ok(pages)
    });
    while let Some(rows) = rows.recv().await {
        write(&store, &shapes, rows, &mut rescued).await?;
    }
    rescued.pages = reading.await??;
    Ok(rescued)
}

async fn write(
    store: &Sqlite,
    shapes: &Arc<[Shape]>,
    rows: Rows,
    rescued: &mut RescuedCounts,
) -> anyhow::Result<()> {
    let Rows { batch, others } = rows;
    rescued.attempts += batch.attempts.len() as u64;
    let attempts = Batch {
        records: Vec::new(),
        attempts: batch.attempts,
    };
    store.write(attempts).await?;
    rescued.traces += write_records(store, batch.records, &mut rescued.refused).await?;
    let shapes = Arc::clone(shapes);
    let copied = store.write_with(move |connection, _| copy(connection, &shapes, others));
    for (shape, is_new) in copied.await? {
        match rescued.others.get_mut(shape) {
            Some((_, count)) if is_new => *count += 1,
            _ => rescued.refused += 1,
        }
    }
    Ok(())
}

/// Inserts rows as they are. Returns the index of each row's shape, and `false` if the table
/// rejects the row.
fn copy(
    connection: &mut Connection,
    shapes: &[Shape],
    rows: Vec<(usize, Vec<Value>)>,
) -> Result<Vec<(usize, bool)>, StoreError> {
    let transaction = connection.transaction()?;
    let mut outcomes = Vec::with_capacity(rows.len());
    for (shape, values) in rows {
        let Some(sql) = shapes.get(shape).map(|shape| shape.insert(values.len())) else {
            continue;
        };
        let mut statement = transaction.prepare_cached(&sql)?;
        let inserted = statement.execute(params_from_iter(values));
        let inserted = inserted.map_err(StoreError::from);
        match inserted {
            Err(error) if !error.is_about_records() => return Err(error),
            result => outcomes.push((shape, result.is_ok())),
        }
    }
    transaction.commit()?;
    Ok(outcomes)
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
    let problems = inspect::inspect(draft, &SQLITE)?.problems;
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
