//! The file: one thread that writes, and connections that read.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{OnceCell, Semaphore};

use crate::StoreError;
use crate::sqlite::names::Names;
use crate::sqlite::schema::Schema;
use crate::watch::ReadWatch;
use opentracy_base::health::HealthRegistry;
use opentracy_base::secure_fs;
use opentracy_base::worker_thread::Background;

/// Limit on concurrent read connections.
const MAX_READERS: usize = 4;

/// A store in one SQLite file. Resources reach it through [`read_with`](Self::read_with) and
/// [`write_with`](Self::write_with).
pub struct Sqlite {
    path: PathBuf,
    schema: &'static Schema,
    /// Empty while the file can't be opened; each call tries again.
    file: OnceCell<OpenFile>,
    watch: ReadWatch,
}

struct OpenFile {
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
    /// Opens a file, or creates it, and migrates its tables.
    pub fn open_with(path: &Path, schema: &'static Schema) -> anyhow::Result<Self> {
        Ok(Self {
            file: OnceCell::new_with(Some(OpenFile::open(path, schema)?)),
            ..Self::unopened(path.to_owned(), schema)
        })
    }

    /// Returns a store whose file can't be opened yet. Each call tries to open it.
    pub fn unopened(path: PathBuf, schema: &'static Schema) -> Self {
        Self {
            path,
            schema,
            file: OnceCell::new(),
            watch: ReadWatch::default(),
        }
    }

    /// Reports reads that fail to a registry.
    #[must_use]
    pub fn watched(self, health: HealthRegistry) -> Self {
        Self {
            watch: ReadWatch::new(health),
            ..self
        }
    }

    /// Returns the description of the tables.
    pub fn schema(&self) -> &'static Schema {
        self.schema
    }

    /// Runs a read on a connection of its own. A failure is reported in `/health`.
    pub async fn read_with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let result = async { self.file().await?.read(&self.path, work).await };
        self.watch.report(result.await)
    }

    /// Runs a write on the writer's thread. If it returns an error, it must have rolled back.
    pub async fn write_with<T: Send + 'static, E: Into<StoreError> + Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection, &mut Names) -> Result<T, E> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.file().await?.write(work).await
    }

    /// Runs work that precedes a write, without keeping the writer from other writes.
    pub async fn prepare<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        Ok(self.file().await?.packer.run(work).await?)
    }

    async fn file(&self) -> Result<&OpenFile, StoreError> {
        let open = || async {
            let (path, schema) = (self.path.clone(), self.schema);
            let opened = tokio::task::spawn_blocking(move || OpenFile::open(&path, schema)).await;
            opened
                .map_err(|_| StoreError::Stopped)?
                .map_err(|error| StoreError::Unopened(reason(&error)))
        };
        self.file.get_or_try_init(open).await
    }
}

impl OpenFile {
    fn open(path: &Path, schema: &Schema) -> anyhow::Result<Self> {
        if let Some(folder) = path.parent() {
            secure_fs::create_dir(folder)?;
        }
        let connection = connect(path)?;
        schema.migrate(&connection)?;
        // `secure_delete` overwrites deleted rows. The full-text index is written in large
        // segments, and many are merged at once, so that each is merged less often.
        connection.pragma_update(None, "secure_delete", "ON")?;
        connection.execute_batch(
            "INSERT INTO words (words, rank) VALUES ('hashsize', 16777216);
            INSERT INTO words (words, rank) VALUES ('automerge', 8);",
        )?;
        Ok(Self {
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
        path: &Path,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = Arc::clone(&self.may_read).acquire_owned().await;
        let path = path.to_owned();
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

    async fn write<T: Send + 'static, E: Into<StoreError> + Send + 'static>(
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

/// Returns why a file can't be opened, without its path, because `/health` may be public.
fn reason(error: &anyhow::Error) -> String {
    let cause = error.root_cause();
    match cause.downcast_ref::<rusqlite::Error>() {
        Some(error) if error.sqlite_error_code() == Some(ErrorCode::CannotOpen) => {
            "unable to open database file".to_owned()
        }
        _ => cause.to_string(),
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
