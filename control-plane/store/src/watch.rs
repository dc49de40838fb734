//! Reports reads that fail in `/health`.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentracy_base::health::{HealthCode, HealthRegistry};

use crate::StoreError;

/// Time for which damage stays reported although other reads succeed.
const DAMAGE_LASTS: Duration = Duration::from_secs(300);

/// Watches the reads of a store. Writes are reported by the code that retries them.
///
/// Both stores pass each of their reads through [`report`](Self::report), so a resource is watched
/// without code of its own.
#[derive(Debug, Default)]
pub struct ReadWatch {
    health: HealthRegistry,
    damaged_at: Mutex<Option<Instant>>,
}

impl ReadWatch {
    pub fn new(health: HealthRegistry) -> Self {
        Self {
            health,
            damaged_at: Mutex::default(),
        }
    }

    /// Reports the outcome of a read and returns it.
    pub fn report<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
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

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::history::SQLITE;
    use crate::{Batch, Sqlite, TraceStore as _};

    #[tokio::test]
    async fn a_file_that_can_not_be_opened_is_opened_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("traces.db");
        std::fs::write(&path, [0xa5; 20_000]).unwrap();
        let store = Sqlite::unopened(path.clone(), &SQLITE);
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
        let store = Sqlite::open(&path).unwrap().watched(health.clone());
        let connection = rusqlite::Connection::open(&path).unwrap();
        let sql = |sql: &str| connection.execute_batch(sql).unwrap();
        sql("ALTER TABLE bodies RENAME TO hidden");
        assert!(store.get(Uuid::nil()).await.is_err());
        assert_eq!(health.reasons()[0].code, "store_read_failing");
        sql("ALTER TABLE hidden RENAME TO bodies");
        assert!(store.get(Uuid::nil()).await.unwrap().is_none());
        assert!(!health.is_degraded());
    }

    #[tokio::test]
    async fn a_read_of_a_file_that_can_not_be_opened_is_told_until_one_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("traces.db");
        let health = HealthRegistry::default();
        let store = Sqlite::unopened(path.clone(), &SQLITE).watched(health.clone());
        let fails = async || {
            assert!(store.get(Uuid::nil()).await.is_err());
            let reasons = health.reasons();
            assert_eq!(reasons[0].code, "store_read_failing");
            // `/health` may be public.
            let folder = folder.path().to_str().unwrap();
            assert!(!reasons[0].message.contains(folder), "{:?}", reasons[0]);
        };
        std::fs::create_dir(&path).unwrap();
        fails().await;
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, [0xa5; 20_000]).unwrap();
        fails().await;
        std::fs::remove_file(&path).unwrap();
        assert!(store.get(Uuid::nil()).await.unwrap().is_none());
        assert!(!health.is_degraded());
    }
}
