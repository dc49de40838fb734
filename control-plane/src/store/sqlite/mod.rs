//! Traces in one SQLite file: nothing to install, enough for one machine.
//!
//! One thread writes. It commits what has gathered while it was busy as one transaction, so that many small batches
//! cost one sync to disk; a batch is acknowledged after that. Readers have connections of their own and never wait for
//! the writer.

mod read;
mod schema;
mod write;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use opentracy_proto::v1;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::store::{Page, Query, Store, StoreError, Trace};

/// Batches that may wait for the writer.
const MAX_WAITING: usize = 64;

type Batch = (v1::IngestRequest, oneshot::Sender<Result<(), StoreError>>);

#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    writer: mpsc::Sender<Batch>,
}

impl Sqlite {
    /// Opens a file, or makes it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let connection = connect(path)?;
        schema::migrate(&connection)?;
        let (writer, batches) = mpsc::channel(MAX_WAITING);
        std::thread::Builder::new()
            .name("trace-writer".to_owned())
            .spawn(move || write_batches(connection, batches))?;
        Ok(Self {
            path: path.to_owned(),
            writer,
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let path = self.path.clone();
        let worked = tokio::task::spawn_blocking(move || work(&connect(&path)?)).await;
        Ok(worked.map_err(|_| StoreError::Stopped)??)
    }
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A commit is on disk when it returns: what was acknowledged survives a loss of power.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    Ok(connection)
}

fn write_batches(mut connection: Connection, mut batches: mpsc::Receiver<Batch>) {
    while let Some(first) = batches.blocking_recv() {
        let mut gathered = vec![first];
        while let Ok(next) = batches.try_recv() {
            gathered.push(next);
        }
        let requests = gathered.iter().map(|(request, _)| request);
        let written = write::transaction(&mut connection, requests);
        match written {
            Ok(()) => {
                for (_, done) in gathered {
                    // A caller that has gone will send its batch again, and nothing will come of it.
                    let _ = done.send(Ok(()));
                }
            }
            // One bad batch must not hold up the others.
            Err(_) if gathered.len() > 1 => {
                for (request, done) in gathered {
                    let written = write::transaction(&mut connection, [&request]);
                    let _ = done.send(written.map_err(StoreError::from));
                }
            }
            Err(error) => {
                if let Some((_, done)) = gathered.pop() {
                    let _ = done.send(Err(error.into()));
                }
            }
        }
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn ingest(&self, batch: v1::IngestRequest) -> Result<(), StoreError> {
        let (done, written) = oneshot::channel();
        self.writer
            .send((batch, done))
            .await
            .map_err(|_| StoreError::Stopped)?;
        written.await.map_err(|_| StoreError::Stopped)?
    }

    async fn list(&self, query: Query) -> Result<Page, StoreError> {
        self.read(move |connection| read::list(connection, &query))
            .await
    }

    async fn get(&self, id: String) -> Result<Option<Trace>, StoreError> {
        self.read(move |connection| read::get(connection, &id))
            .await
    }
}
