//! The migrations of ClickHouse's tables.
//!
//! A migration that was interrupted can run again. Its statements never change, so they are spelled
//! out even if a later table has the same columns.

use crate::audit::clickhouse::AUDIT;
use crate::clickhouse::{Migration, Table, Topology};
use crate::feedback::clickhouse::FEEDBACK;
use crate::traces::clickhouse::{ALL_FIGURES, ATTEMPTS, BODIES, CALLS};

/// The single table that `calls` and `bodies` replaced.
const TRACES: Table = Table {
    name: "traces",
    columns: "
    place Int64 CODEC(Delta, ZSTD(1)),
    id UInt128 CODEC(ZSTD(1)),
    started_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    version UInt32 CODEC(ZSTD(1)),
    api LowCardinality(String),
    requested_model String CODEC(ZSTD(1)),
    alias LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    client_key LowCardinality(String),
    stream Bool,
    status UInt16 CODEC(ZSTD(1)),
    outcome LowCardinality(String),
    error_type LowCardinality(String),
    error_code LowCardinality(String),
    error_message String CODEC(ZSTD(1)),
    latency_us Int64 CODEC(T64, ZSTD(1)),
    time_to_first_token_us Nullable(Int64) CODEC(T64, ZSTD(1)),
    routing_us Int64 CODEC(T64, ZSTD(1)),
    tokens_input Nullable(UInt64) CODEC(T64, ZSTD(1)),
    tokens_output Nullable(UInt64) CODEC(T64, ZSTD(1)),
    tokens_cache_read Nullable(UInt64) CODEC(T64, ZSTD(1)),
    tokens_cache_write Nullable(UInt64) CODEC(T64, ZSTD(1)),
    tokens_reasoning Nullable(UInt64) CODEC(T64, ZSTD(1)),
    cost_input Nullable(Int64) CODEC(ZSTD(1)),
    cost_output Nullable(Int64) CODEC(ZSTD(1)),
    cost_cache_read Nullable(Int64) CODEC(ZSTD(1)),
    cost_cache_write Nullable(Int64) CODEC(ZSTD(1)),
    cost_total Nullable(Int64) CODEC(ZSTD(1)),
    session_id String CODEC(ZSTD(1)),
    cluster_id Nullable(UInt32) CODEC(ZSTD(1)),
    expected_error Nullable(Float64) CODEC(ZSTD(1)),
    user String CODEC(ZSTD(1)),
    metadata Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    traceparent String CODEC(ZSTD(1)),
    request String CODEC(ZSTD(3)),
    response String CODEC(ZSTD(3)),
    content_truncated Bool,
    words String CODEC(ZSTD(1)),
    INDEX traces_by_id id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX traces_by_session session_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX traces_by_user user TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX traces_by_metadata mapValues(metadata) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX traces_by_error error_type TYPE set(100) GRANULARITY 1,
    INDEX traces_by_latency latency_us TYPE minmax GRANULARITY 1,
    INDEX traces_by_cost cost_total TYPE minmax GRANULARITY 1,
    INDEX traces_by_words words TYPE text(tokenizer = splitByString([' ']))",
    engine: ("ReplacingMergeTree", "version"),
    order: "(place, id)",
    partition: Some("toYYYYMM(started_at)"),
    ages_by: Some("started_at"),
    shard_by: "cityHash64(id)",
    settings: Some("index_granularity_bytes = 131072"),
    trace_id: None,
    is_derived: false,
};

/// All labels that traces are filtered by, in one column, so that a single index covers them.
const LABELS: &str = "Array(String) MATERIALIZED arrayConcat(
        ['session=' || session_id, 'user=' || user],
        arrayMap(name -> 'metadata.' || name, mapKeys(metadata)),
        arrayMap((name, value) -> 'metadata.' || name || '=' || value, mapKeys(metadata), mapValues(metadata))
    ) CODEC(ZSTD(1))";

/// Indexes that cost more than they save: most granules contain a matching row.
const NEEDLESS_INDEXES: [&str; 6] = [
    "traces_by_session",
    "traces_by_user",
    "traces_by_metadata",
    "traces_by_error",
    "traces_by_latency",
    "traces_by_cost",
];

/// Lifts ClickHouse's size limit for dropping a table.
const OF_ANY_SIZE: &str = "SETTINGS max_table_size_to_drop = 0";

/// The columns of `traces` that moved to `calls`.
const OF_CALLS: &str = "place, id, started_at, version, api, requested_model, alias, provider, model, client_key, stream, \
    status, outcome, error_type, error_code, error_message, latency_us, time_to_first_token_us, \
    routing_us, tokens_input, tokens_output, tokens_cache_read, tokens_cache_write, tokens_reasoning, \
    cost_input, cost_output, cost_cache_read, cost_cache_write, cost_total, session_id, cluster_id, \
    expected_error, user, metadata, words";

/// A record's JSON members and the expression that computes each from a row of `traces`. Empty
/// texts stand for missing values.
const RECORD: [(&str, &str); 27] = [
    ("id", "toJSONString(leftPad(hex(id), 32, '0'))"),
    ("started_at", "toString(toUnixTimestamp64Micro(started_at))"),
    ("api", "toJSONString(toString(api))"),
    ("requested_model", "toJSONString(requested_model)"),
    ("alias", "if(alias = '', 'null', toJSONString(toString(alias)))"),
    ("provider", "if(provider = '', 'null', toJSONString(toString(provider)))"),
    ("model", "if(model = '', 'null', toJSONString(toString(model)))"),
    ("key", "if(client_key = '', 'null', toJSONString(toString(client_key)))"),
    ("stream", "toJSONString(stream)"),
    ("status", "toString(status)"),
    ("outcome", "toJSONString(toString(outcome))"),
    (
        "error",
        "if(error_type = '', 'null', concat(
            '{\"type\":', toJSONString(toString(error_type)), ',\"code\":', if(error_code = '', 'null', toJSONString(toString(error_code))),
            ',\"message\":', toJSONString(error_message), '}'))",
    ),
    ("latency", "toString(latency_us)"),
    (
        "time_to_first_token",
        "ifNull(toString(time_to_first_token_us), 'null')",
    ),
    ("routing", "toString(routing_us)"),
    (
        "tokens",
        "ifNull(concat(
            '{\"input\":', toString(tokens_input), ',\"output\":', toString(tokens_output),
            ',\"cache_read\":', toString(tokens_cache_read), ',\"cache_write\":', toString(tokens_cache_write),
            ',\"reasoning\":', toString(tokens_reasoning), '}'), 'null')",
    ),
    (
        "cost",
        "ifNull(concat(
            '{\"input\":', toString(cost_input), ',\"output\":', toString(cost_output),
            ',\"cache_read\":', toString(cost_cache_read), ',\"cache_write\":', toString(cost_cache_write),
            ',\"total\":', toString(cost_total), '}'), 'null')",
    ),
    ("session_id", "if(session_id = '', 'null', toJSONString(session_id))"),
    ("cluster_id", "ifNull(toString(cluster_id), 'null')"),
    ("expected_error", "ifNull(toString(expected_error), 'null')"),
    ("decision", "if(decision = '', 'null', decision)"),
    ("user", "if(user = '', 'null', toJSONString(user))"),
    ("metadata", "toJSONString(metadata)"),
    ("traceparent", "if(traceparent = '', 'null', toJSONString(traceparent))"),
    ("request", "if(request = '', 'null', request)"),
    ("response", "if(response = '', 'null', response)"),
    ("content_truncated", "toJSONString(content_truncated)"),
];

/// Returns all migrations in order.
pub fn migrations(topology: &Topology) -> Vec<Migration> {
    let mut traces = topology.create(&TRACES);
    traces.extend(topology.create(&ATTEMPTS));
    let mut figures = Vec::new();
    for each in &ALL_FIGURES {
        figures.extend(topology.create(&each.table));
        figures.push(each.create_view(topology, "traces"));
    }
    // The table that others read from comes last, so that it never reads a column that they
    // lack.
    let mut decisions = topology.alter(
        "traces",
        "ADD COLUMN IF NOT EXISTS decision String CODEC(ZSTD(1))",
    );
    decisions.extend(topology.create(&FEEDBACK));
    vec![
        Migration {
            name: "traces and attempts",
            statements: traces,
        },
        Migration {
            name: "figures by hour and day",
            statements: figures,
        },
        Migration {
            name: "audit",
            statements: topology.create(&AUDIT),
        },
        Migration {
            name: "decisions and feedback",
            statements: decisions,
        },
        Migration {
            name: "labels",
            statements: add_labels(topology),
        },
        Migration {
            name: "actors",
            statements: topology.alter("audit", "ADD COLUMN IF NOT EXISTS actor String"),
        },
        Migration {
            name: "calls and bodies",
            statements: part_traces(topology),
        },
        Migration {
            name: "figures of calls",
            statements: leave_traces(topology),
        },
        Migration {
            name: "clients",
            statements: topology.alter(
                "calls",
                "ADD COLUMN IF NOT EXISTS client LowCardinality(String)",
            ),
        },
    ]
}

fn add_labels(topology: &Topology) -> Vec<String> {
    let mut labels = topology.alter(
        "traces",
        &format!("ADD COLUMN IF NOT EXISTS labels {LABELS}"),
    );
    let (local, everywhere) = (topology.local("traces"), topology.on_cluster());
    let drops = NEEDLESS_INDEXES.map(|index| format!("DROP INDEX IF EXISTS {index}"));
    let changes = drops.iter().map(String::as_str).chain([
        "ADD INDEX IF NOT EXISTS traces_by_label labels TYPE text(tokenizer = 'array')",
        "MODIFY SETTING min_compress_block_size = 4096, max_compress_block_size = 65536",
        "MATERIALIZE COLUMN labels",
        "MATERIALIZE INDEX traces_by_label",
    ]);
    labels.extend(changes.map(|change| format!("ALTER TABLE {local}{everywhere} {change}")));
    labels
}

/// Copies `traces` into the two tables that replace it. Removes the rows of an interrupted copy
/// first.
fn part_traces(topology: &Topology) -> Vec<String> {
    let everywhere = topology.on_cluster();
    let mut statements = topology.create(&CALLS);
    statements.extend(topology.create(&BODIES));
    for table in [&CALLS, &BODIES] {
        let local = topology.local(table.name);
        statements.push(format!("TRUNCATE TABLE {local}{everywhere} {OF_ANY_SIZE}"));
    }
    let traces = topology.table("traces");
    statements.push(format!(
        "INSERT INTO {} ({OF_CALLS}) SELECT {OF_CALLS} FROM {traces}",
        topology.table(CALLS.name),
    ));
    let members = RECORD.map(|(name, made)| format!("'\"{name}\":', {made}"));
    statements.push(format!(
        "INSERT INTO {} (place, id, started_at, version, record)
SELECT place, id, started_at, version, concat('{{', {}, '}}') FROM {traces}",
        topology.table(BODIES.name),
        members.join(", ',', "),
    ));
    statements
}

fn leave_traces(topology: &Topology) -> Vec<String> {
    let everywhere = topology.on_cluster();
    let mut statements = Vec::new();
    for each in &ALL_FIGURES {
        let view = each.view(topology);
        statements.push(format!("DROP VIEW IF EXISTS {view}{everywhere}"));
        statements.push(each.create_view(topology, CALLS.name));
    }
    let tables = topology.tables("traces").into_iter().rev();
    let drops =
        tables.map(|table| format!("DROP TABLE IF EXISTS {table}{everywhere} {OF_ANY_SIZE}"));
    statements.extend(drops);
    statements
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::history::CLICKHOUSE;

    fn topology(cluster: Option<&str>) -> Topology {
        Topology {
            database: "opentracy".to_owned(),
            cluster: cluster.map(str::to_owned),
            retention_days: 90,
        }
    }

    /// Returns the first bytes of the digest of each migration's statements.
    fn digests(cluster: Option<&str>) -> Vec<String> {
        let digest = |migration: Migration| {
            let digest = Sha256::digest(migration.statements.join(";"));
            format!(
                "{:02x}{:02x}{:02x}{:02x} {}",
                digest[0], digest[1], digest[2], digest[3], migration.name
            )
        };
        migrations(&topology(cluster))
            .into_iter()
            .map(digest)
            .collect()
    }

    #[test]
    fn released_migrations_never_change() {
        assert_eq!(
            digests(None),
            [
                "3771ee50 traces and attempts",
                "a90468b9 figures by hour and day",
                "b7324898 audit",
                "c2a0f2e6 decisions and feedback",
                "3bd2bc96 labels",
                "3b199da7 actors",
                "20b0a62c calls and bodies",
                "6d27a74f figures of calls",
                "7c32da2b clients",
            ]
        );
        assert_eq!(
            digests(Some("main")),
            [
                "a61a8133 traces and attempts",
                "bdf9d31c figures by hour and day",
                "1b41bb8d audit",
                "0b1002e5 decisions and feedback",
                "93c49afc labels",
                "62a928cf actors",
                "f7a07a97 calls and bodies",
                "2f9ff502 figures of calls",
                "c3455a23 clients",
            ]
        );
    }

    fn statements(topology: &Topology) -> Vec<String> {
        let migrations = migrations(topology).into_iter();
        let mut all = topology.foundation();
        all.extend(migrations.flat_map(|migration| migration.statements));
        all.extend(topology.set_retention(CLICKHOUSE.tables()));
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
