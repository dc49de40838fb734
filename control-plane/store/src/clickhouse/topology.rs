//! The tables on one server or on a cluster.
//!
//! On a cluster, each table is `NAME_local` on every server, replicated within its shard, and
//! `NAME` is the distributed table over them.

use std::fmt::Write as _;

use crate::clickhouse::table::Table;
use opentracy_config::ClickHouseConfig;

/// The location of the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    pub database: String,
    /// The cluster's name in ClickHouse's own configuration.
    pub cluster: Option<String>,
    pub retention_days: u64,
}

impl Topology {
    pub fn new(config: &ClickHouseConfig, retention_days: u64) -> Self {
        Self {
            database: config.database.clone(),
            cluster: config.cluster.clone(),
            retention_days,
        }
    }

    /// Returns the name to read from and insert into.
    pub fn table(&self, name: &str) -> String {
        format!("`{}`.{name}", self.database)
    }

    /// Returns the name to alter: on a cluster, the table on each server.
    pub fn local(&self, name: &str) -> String {
        match self.cluster {
            Some(_) => format!("`{}`.{name}_local", self.database),
            None => self.table(name),
        }
    }

    /// Returns the tables that a name stands for; on a cluster there are two.
    pub fn tables(&self, name: &str) -> Vec<String> {
        let mut tables = vec![self.local(name)];
        if self.cluster.is_some() {
            tables.push(self.table(name));
        }
        tables
    }

    /// Returns the clause that runs a statement on every server.
    pub fn on_cluster(&self) -> String {
        match &self.cluster {
            Some(cluster) => format!(" ON CLUSTER `{cluster}`"),
            None => String::new(),
        }
    }

    /// Returns the statements that create the database and the table of versions.
    pub fn foundation(&self) -> Vec<String> {
        vec![
            format!(
                "CREATE DATABASE IF NOT EXISTS `{}`{}",
                self.database,
                self.on_cluster()
            ),
            self.create_versions(
                "schema_migrations",
                "version UInt32, name String",
                "version",
            ),
        ]
    }

    /// Returns the statement that creates a table of applied migrations, the same on all shards.
    pub fn create_versions(&self, name: &str, columns: &str, order: &str) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {}{} ({columns}, applied_at DateTime DEFAULT now())
ENGINE = {} ORDER BY {order}",
            self.table(name),
            self.on_cluster(),
            self.engine(name, ("ReplacingMergeTree", ""), "all"),
        )
    }

    /// Returns the statements that alter a table on every server.
    pub fn alter(&self, table: &str, change: &str) -> Vec<String> {
        let tables = self.tables(table).into_iter();
        tables
            .map(|table| format!("ALTER TABLE {table}{} {change}", self.on_cluster()))
            .collect()
    }

    /// Returns the statements that set each table's TTL, because the operator can change the
    /// retention.
    pub fn set_retention(&self, tables: impl Iterator<Item = &'static Table>) -> Vec<String> {
        tables
            .filter_map(|table| {
                let ttl = self.ttl(table)?;
                Some(format!(
                    "ALTER TABLE {}{} MODIFY TTL {ttl}",
                    self.local(table.name),
                    self.on_cluster()
                ))
            })
            .collect()
    }

    fn ttl(&self, table: &Table) -> Option<String> {
        let age = table.ages_by?;
        Some(format!(
            "toDateTime({age}) + INTERVAL {} DAY",
            self.retention_days
        ))
    }

    pub fn create(&self, table: &Table) -> Vec<String> {
        let mut statement = format!(
            "CREATE TABLE IF NOT EXISTS {}{} ({}\n) ENGINE = {}",
            self.local(table.name),
            self.on_cluster(),
            table.columns,
            self.engine(table.name, table.engine, "{shard}"),
        );
        // Writing to a string can't fail.
        if let Some(partition) = table.partition {
            let _ = write!(statement, "\nPARTITION BY {partition}");
        }
        let _ = write!(statement, "\nORDER BY {}", table.order);
        if let Some(ttl) = self.ttl(table) {
            let _ = write!(statement, "\nTTL {ttl}");
        }
        if let Some(settings) = table.settings {
            let _ = write!(statement, "\nSETTINGS {settings}");
        }
        let mut statements = vec![statement];
        if let Some(cluster) = &self.cluster {
            statements.push(format!(
                "CREATE TABLE IF NOT EXISTS {}{} AS {}
ENGINE = Distributed(`{cluster}`, `{}`, {}_local, {})",
                self.table(table.name),
                self.on_cluster(),
                self.local(table.name),
                self.database,
                table.name,
                table.shard_by,
            ));
        }
        statements
    }

    /// Returns an engine with its arguments; on a cluster, the replicated engine.
    fn engine(&self, table: &str, (family, takes): (&str, &str), shard: &str) -> String {
        if self.cluster.is_none() {
            return format!("{family}({takes})");
        }
        let separator = if takes.is_empty() { "" } else { ", " };
        format!(
            "Replicated{family}('/clickhouse/tables/{shard}/{}/{table}', '{{replica}}'{separator}{takes})",
            self.database
        )
    }
}
