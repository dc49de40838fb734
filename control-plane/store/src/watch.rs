//! A store that reports its faults in `/health` and can be opened late.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{
    AuditEntry, AuditLog, Batch, Dimension, Feedback, FeedbackStore, Filter, Micros, Page, PicoUsd,
    Query, Record, Sqlite, Stats, StatsQuery, Store, StoreError, Trace, TraceStore,
};
use opentracy_base::health::{HealthCode, HealthRegistry};

/// Time for which damage stays reported although other reads succeed.
const DAMAGE_LASTS: Duration = Duration::from_secs(300);

/// Forwards everything to a store and reports reads that fail. Writes are reported by the code that
/// retries them.
pub struct Watched {
    /// Empty while the file can't be opened; each call tries again.
    inner: OnceCell<Arc<dyn Store>>,
    /// The SQLite file; empty for other stores.
    path: PathBuf,
    health: HealthRegistry,
    damaged_at: Mutex<Option<Instant>>,
}

impl Watched {
    pub fn new(store: Arc<dyn Store>, health: HealthRegistry) -> Self {
        Self {
            inner: OnceCell::new_with(Some(store)),
            path: PathBuf::new(),
            health,
            damaged_at: Mutex::default(),
        }
    }

    /// Wraps a SQLite file that can't be opened yet.
    pub fn unopened(path: PathBuf, health: HealthRegistry) -> Self {
        Self {
            inner: OnceCell::new(),
            path,
            health,
            damaged_at: Mutex::default(),
        }
    }

    async fn inner(&self) -> Result<&Arc<dyn Store>, StoreError> {
        let open = || async {
            let path = self.path.clone();
            let opened = tokio::task::spawn_blocking(move || Sqlite::open(&path)).await;
            match opened.map_err(|_| StoreError::Stopped)? {
                Ok(store) => Ok(Arc::new(store) as Arc<dyn Store>),
                Err(error) => Err(StoreError::Unopened(error.root_cause().to_string())),
            }
        };
        self.inner.get_or_try_init(open).await
    }

    /// Reports the outcome of a read.
    fn told<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        let mut damaged_at = self
            .damaged_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &result {
            Err(error) => {
                if error.is_damage() {
                    *damaged_at = Some(Instant::now());
                }
                let message = format!("the store can't be read: {error}");
                self.health.report(HealthCode::StoreRead, "", message);
            }
            Ok(_) if damaged_at.is_none_or(|at| at.elapsed() > DAMAGE_LASTS) => {
                *damaged_at = None;
                self.health.resolve(HealthCode::StoreRead, "");
            }
            Ok(_) => {}
        }
        result
    }
}

#[async_trait]
impl TraceStore for Watched {
    async fn write(&self, batch: Batch) -> Result<Vec<Record>, StoreError> {
        self.inner().await?.write(batch).await
    }

    async fn list(&self, query: Query) -> Result<Page, StoreError> {
        self.told(self.inner().await?.list(query).await)
    }

    async fn get(&self, id: Uuid) -> Result<Option<Trace>, StoreError> {
        self.told(self.inner().await?.get(id).await)
    }

    async fn stats(&self, query: StatsQuery) -> Result<Vec<Stats>, StoreError> {
        self.told(self.inner().await?.stats(query).await)
    }

    async fn spent(
        &self,
        since: Micros,
        by: Dimension,
    ) -> Result<Vec<(String, PicoUsd)>, StoreError> {
        self.told(self.inner().await?.spent(since, by).await)
    }

    async fn replace(&self, records: Vec<Record>) -> Result<(), StoreError> {
        self.inner().await?.replace(records).await
    }

    async fn delete(&self, filter: Filter) -> Result<u64, StoreError> {
        self.inner().await?.delete(filter).await
    }

    async fn expire(&self, before: Micros) -> Result<(), StoreError> {
        self.inner().await?.expire(before).await
    }
}

#[async_trait]
impl FeedbackStore for Watched {
    async fn add_feedback(&self, feedback: Vec<Feedback>) -> Result<(), StoreError> {
        self.inner().await?.add_feedback(feedback).await
    }

    async fn feedback(&self, since: Micros, limit: u32) -> Result<Vec<Feedback>, StoreError> {
        self.told(self.inner().await?.feedback(since, limit).await)
    }
}

#[async_trait]
impl AuditLog for Watched {
    async fn note(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.inner().await?.note(entry).await
    }

    async fn audit(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.told(self.inner().await?.audit(limit).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_can_not_be_opened_is_opened_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("traces.db");
        std::fs::write(&path, [0xa5; 20_000]).unwrap();
        let health = HealthRegistry::default();
        let store = Watched::unopened(path.clone(), health.clone());
        for _ in 0..2 {
            let error = store.write(Batch::default()).await.unwrap_err();
            assert!(matches!(error, StoreError::Unopened(_)), "{error}");
            assert!(!error.is_about_records());
        }
        std::fs::remove_file(&path).unwrap();
        assert!(store.write(Batch::default()).await.is_ok());
    }

    #[tokio::test]
    async fn a_read_that_fails_is_told_until_one_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("traces.db");
        let health = HealthRegistry::default();
        let store = Watched::new(Arc::new(Sqlite::open(&path).unwrap()), health.clone());
        let connection = rusqlite::Connection::open(&path).unwrap();
        let sql = |sql: &str| connection.execute_batch(sql).unwrap();
        sql("ALTER TABLE bodies RENAME TO hidden");
        assert!(store.get(Uuid::nil()).await.is_err());
        assert_eq!(health.reasons()[0].code, "store_read_failing");
        sql("ALTER TABLE hidden RENAME TO bodies");
        assert!(store.get(Uuid::nil()).await.unwrap().is_none());
        assert!(!health.is_degraded());
    }
}
