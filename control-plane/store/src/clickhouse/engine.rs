//! The server, and the statements that all resources need.

use clickhouse::{Client, Compression, Row};
use serde::Serialize;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::StoreError;
use crate::clickhouse::schema::Schema;
use crate::clickhouse::topology::Topology;
use crate::watch::ReadWatch;
use opentracy_base::health::HealthRegistry;
use opentracy_config as config;

/// A store in ClickHouse. Resources reach it through [`read_with`](Self::read_with) and
/// [`write_with`](Self::write_with).
pub struct ClickHouse {
    client: Client,
    topology: Topology,
    schema: &'static Schema,
    watch: ReadWatch,
    /// Set once the tables are at this version.
    migrated: OnceCell<()>,
    /// Held while traces are written, so that statistics can be recomputed without losing any.
    writing: Mutex<()>,
}

impl ClickHouse {
    pub fn new(
        config: &config::ClickHouseConfig,
        password: Option<&str>,
        retention_days: u64,
        schema: &'static Schema,
    ) -> Self {
        let mut client = Client::default()
            .with_url(config.url.as_str())
            .with_compression(match config.compression {
                config::Compression::None => Compression::None,
                config::Compression::Lz4 => Compression::Lz4,
            });
        if let Some(user) = &config.user {
            client = client.with_user(user);
        }
        if let Some(password) = password {
            client = client.with_password(password);
        }
        if config.cluster.is_some() {
            // Inserts return only after the row has reached its shard.
            client = client.with_setting("distributed_foreground_insert", "1");
        }
        Self {
            client,
            topology: Topology::new(config, retention_days),
            schema,
            watch: ReadWatch::default(),
            migrated: OnceCell::new(),
            writing: Mutex::new(()),
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

    /// Migrates the tables to this version, once. If the server is unreachable, the next operation
    /// tries again.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.migrated.get_or_try_init(|| self.take_steps()).await?;
        Ok(())
    }

    /// Runs a read once the tables are migrated. A failure is reported in `/health`.
    pub async fn read_with<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.watch.report(self.write_with(work).await)
    }

    /// Runs a write once the tables are migrated.
    pub async fn write_with<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.migrate().await?;
        work.await
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    pub fn schema(&self) -> &'static Schema {
        self.schema
    }

    /// Waits for the other writes of traces, and keeps further ones waiting.
    pub async fn turn_to_write(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().await
    }

    /// Runs a statement without parameters.
    pub async fn execute(&self, statement: &str) -> Result<(), StoreError> {
        // The client reads a question mark as a placeholder unless it is doubled.
        let query = self.client.query(&statement.replace('?', "??"));
        Ok(query.execute().await?)
    }

    /// Inserts rows into a table.
    pub async fn insert<R>(&self, table: &str, rows: &[R]) -> Result<(), StoreError>
    where
        R: Row + for<'a> clickhouse::RowWrite<Value<'a> = R> + Serialize,
    {
        if rows.is_empty() {
            return Ok(());
        }
        let mut insert = self
            .client
            .insert_unescaped::<R>(&self.topology.table(table))
            .await?;
        for row in rows {
            insert.write(row).await?;
        }
        Ok(insert.end().await?)
    }
}
