//! Applies the migrations to a database.

use std::collections::BTreeMap;

use clickhouse::Row;
use serde::Deserialize;

use crate::StoreError;
use crate::clickhouse::engine::ClickHouse;

/// The table of the steps that were applied.
const ALL: &str = "schema_migrations";
/// The table of the resources' own steps that were applied. Created by the first program that has
/// any.
const OWN: &str = "resource_migrations";

impl ClickHouse {
    pub(super) async fn take_steps(&self) -> Result<(), StoreError> {
        for statement in self.topology().foundation() {
            self.execute(&statement).await?;
        }
        let applied = self.version().await?;
        let known = self.schema().newest(self.topology());
        if applied as usize > known {
            let found = applied;
            return Err(StoreError::Newer { found, known });
        }
        let history = (self.schema().history)(self.topology());
        for (index, migration) in history.iter().enumerate().skip(applied as usize) {
            for statement in &migration.statements {
                self.execute(statement).await?;
            }
            self.record(index + 1, migration.name).await?;
            tracing::info!("migrated ClickHouse: {}", migration.name);
        }
        if self.schema().has_own_steps() {
            self.take_own_steps(history.len()).await?;
        }
        for statement in self.topology().set_retention(self.schema().tables()) {
            self.execute(&statement).await?;
        }
        Ok(())
    }

    /// Applies the resources' own steps after those of the history.
    async fn take_own_steps(&self, history: usize) -> Result<(), StoreError> {
        self.execute(&self.topology().create_versions(
            OWN,
            "resource String, version UInt32, name String",
            "(resource, version)",
        ))
        .await?;
        let applied = self.own_versions().await?;
        for (resource, &found) in &applied {
            let known = self.schema().steps_of(resource).len();
            if found as usize > known {
                let resource = resource.clone();
                return Err(StoreError::NewerResource {
                    resource,
                    found,
                    known,
                });
            }
        }
        let mut total = history + applied.values().sum::<u32>() as usize;
        for resource in self.schema().resources {
            let done = applied.get(resource.name).copied().unwrap_or_default() as usize;
            let steps = resource.clickhouse.steps.iter().enumerate();
            for (index, step) in steps.skip(done) {
                total += 1;
                // First, so that an older program refuses the database even if this step is
                // interrupted.
                self.record(total, step.name).await?;
                for statement in (step.statements)(self.topology()) {
                    self.execute(&statement).await?;
                }
                let table = self.topology().table(OWN);
                let sql = format!("INSERT INTO {table} (resource, version, name) VALUES (?, ?, ?)");
                let note = self.client().query(&sql).bind(resource.name);
                note.bind(index + 1).bind(step.name).execute().await?;
                tracing::info!("migrated ClickHouse: {}", step.name);
            }
        }
        Ok(())
    }

    /// Returns the number of steps that were applied.
    pub(super) async fn version(&self) -> Result<u32, StoreError> {
        let versions = self.topology().table(ALL);
        let sql = format!("SELECT max(version) FROM {versions}");
        Ok(self.client().query(&sql).fetch_one().await?)
    }

    async fn record(&self, version: usize, name: &str) -> Result<(), StoreError> {
        let versions = self.topology().table(ALL);
        let sql = format!("INSERT INTO {versions} (version, name) VALUES (?, ?)");
        let note = self.client().query(&sql).bind(version);
        Ok(note.bind(name).execute().await?)
    }

    async fn own_versions(&self) -> Result<BTreeMap<String, u32>, StoreError> {
        #[derive(Row, Deserialize)]
        struct Version {
            resource: String,
            version: u32,
        }
        // The database's own values take precedence over aliases in a WHERE, not in a GROUP BY.
        let sql = format!(
            "SELECT resource, max(t.version) AS version FROM {} AS t GROUP BY resource",
            self.topology().table(OWN)
        );
        let rows: Vec<Version> = self.client().query(&sql).fetch_all().await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.resource, row.version))
            .collect())
    }
}
