//! Statistics by hour and day, which a view computes as traces are inserted.

use crate::clickhouse::{Table, Topology};
use crate::traces::clickhouse::tables::{DAILY, HOURLY};

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

    /// Returns the name of the materialized view that updates statistics on inserts.
    pub fn view(&self, topology: &Topology) -> String {
        topology.table(&format!("{}_view", self.name()))
    }

    /// Returns the statement that creates the view on the rows of a table.
    pub fn create_view(&self, topology: &Topology, source: &str) -> String {
        format!(
            "CREATE MATERIALIZED VIEW IF NOT EXISTS {}{} TO {} AS {}",
            self.view(topology),
            topology.on_cluster(),
            topology.local(self.name()),
            self.select(&topology.local(source), "t.version = 0"),
        )
    }
}
