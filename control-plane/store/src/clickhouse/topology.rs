//! The tables on one server or on a cluster.
//!
//! On a cluster, each table is `NAME_local` on every server, replicated within its shard, and
//! `NAME` is the distributed table over them.

use std::fmt::Write as _;

use crate::clickhouse::tables::{ATTEMPTS, BODIES, CALLS, DAILY, FEEDBACK, HOURLY, Table};
use opentracy_config::ClickHouse;

/// The location of the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    pub database: String,
    /// The cluster's name in ClickHouse's own configuration.
    pub cluster: Option<String>,
    pub retention_days: u64,
}

/// Aggregates of an hour or a day. Columns are qualified with their table, because a bare name
/// would refer to the sum of that name.
const FIGURES: &str = "count() AS requests, countIf(t.error_type != '') AS errors,
    sum(ifNull(t.tokens_input, 0)) AS tokens_input, sum(ifNull(t.tokens_output, 0)) AS tokens_output,
    sum(ifNull(t.cost_total, 0)) AS cost_total, quantilesTDigestState(0.5, 0.95, 0.99)(t.latency_us) AS latency_us";

/// A table of statistics and its source.
pub struct Figures {
    pub table: Table,
    /// Column names and the expression that computes each.
    keys: &'static [(&'static str, &'static str)],
    /// The first key: its column, and the function that computes it from a trace's time.
    pub period: (&'static str, &'static str),
    condition: &'static str,
}

pub const ALL_FIGURES: [Figures; 2] = [
    Figures {
        table: HOURLY,
        keys: &[
            ("provider", "t.provider"),
            ("model", "t.model"),
            ("alias", "t.alias"),
            ("client_key", "t.client_key"),
        ],
        period: ("hour", "toStartOfHour"),
        condition: "t.provider != ''",
    },
    Figures {
        table: DAILY,
        keys: &[
            ("cluster_id", "assumeNotNull(t.cluster_id)"),
            ("provider", "t.provider"),
            ("model", "t.model"),
        ],
        period: ("day", "toDate"),
        condition: "t.provider != '' AND t.cluster_id IS NOT NULL",
    },
];

impl Figures {
    pub fn name(&self) -> &'static str {
        self.table.name
    }

    /// Returns the query for the statistics of `source` rows that match `condition`, which names
    /// the table `t`.
    pub fn select(&self, source: &str, condition: &str) -> String {
        let (period, of_time) = self.period;
        let keys: Vec<String> = self
            .keys
            .iter()
            .map(|(name, made)| format!("{made} AS {name}"))
            .collect();
        let names: Vec<&str> = self.keys.iter().map(|(name, _)| *name).collect();
        format!(
            "SELECT {of_time}(t.started_at) AS {period}, {}, {FIGURES}
FROM {source} AS t WHERE {} AND {condition} GROUP BY {period}, {}",
            keys.join(", "),
            self.condition,
            names.join(", ")
        )
    }
}

impl Topology {
    pub fn new(config: &ClickHouse, retention_days: u64) -> Self {
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
            format!(
                "CREATE TABLE IF NOT EXISTS {}{} (version UInt32, name String, applied_at DateTime DEFAULT now())
ENGINE = {} ORDER BY version",
                self.table("schema_migrations"),
                self.on_cluster(),
                self.engine("schema_migrations", ("ReplacingMergeTree", ""), "all"),
            ),
        ]
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
    pub fn set_retention(&self) -> Vec<String> {
        [&CALLS, &BODIES, &ATTEMPTS, &FEEDBACK, &HOURLY, &DAILY]
            .into_iter()
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

    /// Returns the name of the materialized view that updates statistics on inserts.
    pub fn view(&self, figures: &Figures) -> String {
        self.table(&format!("{}_view", figures.name()))
    }

    pub fn create_view(&self, figures: &Figures, source: &str) -> String {
        format!(
            "CREATE MATERIALIZED VIEW IF NOT EXISTS {}{} TO {} AS {}",
            self.view(figures),
            self.on_cluster(),
            self.local(figures.name()),
            figures.select(&self.local(source), "t.version = 0"),
        )
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

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(cluster: Option<&str>) -> Topology {
        Topology {
            database: "opentracy".to_owned(),
            cluster: cluster.map(str::to_owned),
            retention_days: 90,
        }
    }

    fn statements(topology: &Topology) -> Vec<String> {
        let migrations = topology.migrations().into_iter();
        let mut all = topology.foundation();
        all.extend(migrations.flat_map(|migration| migration.statements));
        all.extend(topology.set_retention());
        all
    }

    #[test]
    fn one_server_has_plain_tables() {
        let all = statements(&topology(None)).join(";\n");
        for words in ["ON CLUSTER", "Replicated", "Distributed", "_local"] {
            assert!(!all.contains(words), "{words}");
        }
        assert!(all.contains("CREATE TABLE IF NOT EXISTS `opentracy`.calls ("));
        assert!(all.contains("ENGINE = ReplacingMergeTree(version)"));
        assert!(all.contains("TTL toDateTime(started_at) + INTERVAL 90 DAY"));
    }

    #[test]
    fn on_a_cluster_every_statement_runs_everywhere() {
        let all = statements(&topology(Some("main")));
        for statement in &all {
            // Inserts are distributed by the target table.
            let is_everywhere =
                statement.contains(" ON CLUSTER `main`") || statement.starts_with("INSERT INTO");
            assert!(is_everywhere, "{statement}");
        }
        let all = all.join(";\n");
        assert!(all.contains(
            "ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/opentracy/calls', '{replica}', version)"
        ));
        assert!(
            all.contains("ENGINE = Distributed(`main`, `opentracy`, calls_local, cityHash64(id))")
        );
        // Versions are the same on all shards.
        assert!(all.contains("'/clickhouse/tables/all/opentracy/schema_migrations'"));
        // Each server counts its own inserts.
        assert!(all.contains(
            "CREATE MATERIALIZED VIEW IF NOT EXISTS `opentracy`.model_stats_hourly_view ON CLUSTER `main` TO `opentracy`.model_stats_hourly_local"
        ));
        assert!(all.contains("FROM `opentracy`.calls_local AS t WHERE t.provider"));
    }
}
