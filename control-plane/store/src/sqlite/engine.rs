//! Trace storage in one SQLite file: nothing to install, enough for one machine.
//!
//! A single thread does all writes. Readers have their own connections and never wait for it.

mod audit;
mod body;
mod delete;
pub(super) mod fault;
mod feedback;
mod filter;
pub(super) mod inspect;
mod names;
pub(super) mod read;
pub(super) mod repair;
mod row;
pub(super) mod salvage;
#[cfg(test)]
mod salvage_tests;
pub(super) mod schema;
mod stats;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::{
    AuditEntry, AuditLog, Batch, Dimension, Feedback, FeedbackStore, Filter, Micros, Page, PicoUsd,
    Query, Record, Stats, StatsQuery, StoreError, Trace, TraceStore,
};
use names::Names;
use opentracy_base::secure_fs;
use opentracy_base::worker_thread::Background;
use write::Prepared;

/// Limit on concurrent read connections.
const MAX_READERS: usize = 4;

pub struct Sqlite {
    path: PathBuf,
    writer: Background,
    /// The state of the writer thread; no other thread uses it.
    write_side: Arc<Mutex<WriteSide>>,
    /// Prepares rows while the writer is busy with the previous batch.
    packer: Background,
    may_read: Arc<Semaphore>,
    /// Connections that are not in use.
    idle: Arc<Mutex<Vec<Connection>>>,
}

struct WriteSide {
    connection: Connection,
    names: Names,
}

impl Sqlite {
    /// Opens a file, or creates it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        if let Some(folder) = path.parent() {
            secure_fs::create_dir(folder)?;
        }
        let connection = connect(path)?;
        schema::migrate(&connection)?;
        // `secure_delete` overwrites deleted rows. The full-text index is written in large
        // segments, and many are merged at once, so that each is merged less often.
        connection.pragma_update(None, "secure_delete", "ON")?;
        connection.execute_batch(
            "INSERT INTO words (words, rank) VALUES ('hashsize', 16777216);
            INSERT INTO words (words, rank) VALUES ('automerge', 8);",
        )?;
        Ok(Self {
            path: path.to_owned(),
            writer: Background::start("store")?,
            write_side: Arc::new(Mutex::new(WriteSide {
                connection,
                names: Names::default(),
            })),
            packer: Background::start("pack")?,
            may_read: Arc::new(Semaphore::new(MAX_READERS)),
            idle: Arc::default(),
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = Arc::clone(&self.may_read).acquire_owned().await;
        let path = self.path.clone();
        let idle = Arc::clone(&self.idle);
        let worked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let held = || idle.lock().unwrap_or_else(PoisonError::into_inner);
            let waiting = held().pop();
            let connection = match waiting {
                Some(connection) => connection,
                None => connect(&path)?,
            };
            let result = work(&connection);
            held().push(connection);
            result
        });
        worked.await.map_err(|_| StoreError::Stopped)?
    }

    async fn write_with<T: Send + 'static, E: Into<StoreError> + Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection, &mut Names) -> Result<T, E> + Send + 'static,
    ) -> Result<T, StoreError> {
        let side = Arc::clone(&self.write_side);
        let written = self.writer.run(move || {
            let mut side = side.lock().unwrap_or_else(PoisonError::into_inner);
            let WriteSide { connection, names } = &mut *side;
            let result = work(connection, names);
            if result.is_err() {
                // The transaction was rolled back, including new names.
                names.forget();
            }
            result
        });
        written.await?.map_err(Into::into)
    }
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open(path)?;
    // Only affects new files.
    connection.pragma_update(None, "page_size", 8192)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // Commits return after the fsync.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -16384)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

#[async_trait]
impl TraceStore for Sqlite {
    async fn write(&self, batch: Batch) -> Result<Vec<Record>, StoreError> {
        let Batch { records, attempts } = batch;
        let packed = self.packer.run(|| {
            let mut packer = body::Packer::new()?;
            let pack = |(record, words)| {
                Ok(Prepared {
                    body: packer.pack(&record)?,
                    record,
                    words,
                })
            };
            records
                .into_iter()
                .map(pack)
                .collect::<Result<Vec<_>, StoreError>>()
        });
        let records = packed.await??;
        self.write_with(move |connection, names| {
            write::batch(connection, names, records, &attempts)
        })
        .await
    }

    async fn list(&self, query: Query) -> Result<Page, StoreError> {
        self.read(move |connection| read::list(connection, &query))
            .await
    }

    async fn get(&self, id: Uuid) -> Result<Option<Trace>, StoreError> {
        self.read(move |connection| read::get(connection, id)).await
    }

    async fn stats(&self, query: StatsQuery) -> Result<Vec<Stats>, StoreError> {
        self.read(move |connection| stats::stats(connection, &query))
            .await
    }

    async fn spent(
        &self,
        since: Micros,
        by: Dimension,
    ) -> Result<Vec<(String, PicoUsd)>, StoreError> {
        self.read(move |connection| stats::spent(connection, since, by))
            .await
    }

    async fn replace(&self, records: Vec<Record>) -> Result<(), StoreError> {
        self.write_with(move |connection, _| write::replace(connection, &records))
            .await
    }

    async fn delete(&self, filter: Filter) -> Result<u64, StoreError> {
        self.write_with(move |connection, _| delete::matching(connection, &filter))
            .await
    }

    async fn expire(&self, before: Micros) -> Result<(), StoreError> {
        let filter = Filter {
            until: Some(before),
            ..Filter::default()
        };
        self.write_with(move |connection, _| {
            delete::matching(connection, &filter)?;
            delete::strays(connection, before)
        })
        .await
    }
}

#[async_trait]
impl FeedbackStore for Sqlite {
    async fn add_feedback(&self, feedback: Vec<Feedback>) -> Result<(), StoreError> {
        self.write_with(move |connection, _| feedback::add(connection, &feedback))
            .await
    }

    async fn feedback(&self, since: Micros, limit: u32) -> Result<Vec<Feedback>, StoreError> {
        self.read(move |connection| feedback::since(connection, since, limit))
            .await
    }
}

#[async_trait]
impl AuditLog for Sqlite {
    async fn note(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.write_with(move |connection, _| audit::note(connection, &entry))
            .await
    }

    async fn audit(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.read(move |connection| audit::last(connection, limit))
            .await
    }
}
