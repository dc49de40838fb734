//! The tables of traces. Codecs and settings were chosen by measurement, see
//! `docs/performance.md`.

use crate::clickhouse::{Table, Tables};

pub const TABLES: Tables = Tables {
    // The history creates the tables.
    steps: &[],
    tables: &[&CALLS, &BODIES, &ATTEMPTS, &HOURLY, &DAILY],
};

/// The columns of each call that searches and statistics use.
pub const CALLS: Table = Table {
    name: "calls",
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
    words String CODEC(ZSTD(1)),
    labels Array(String) MATERIALIZED arrayConcat(
        ['session=' || session_id, 'user=' || user],
        arrayMap(name -> 'metadata.' || name, mapKeys(metadata)),
        arrayMap((name, value) -> 'metadata.' || name || '=' || value, mapKeys(metadata), mapValues(metadata))
    ) CODEC(ZSTD(1)),
    INDEX calls_by_id id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX calls_by_label labels TYPE text(tokenizer = 'array'),
    INDEX calls_by_word words TYPE text(tokenizer = splitByString([' ']))",
    engine: ("ReplacingMergeTree", "version"),
    order: "(place, id)",
    partition: Some("toYYYYMM(started_at)"),
    ages_by: Some("started_at"),
    shard_by: "cityHash64(id)",
    settings: None,
    trace_id: None,
    is_derived: false,
};

/// The complete record of each call as one text. A page's rows are far apart, so reading every
/// column of each would take many seeks.
pub const BODIES: Table = Table {
    name: "bodies",
    columns: "
    place Int64 CODEC(Delta, ZSTD(1)),
    id UInt128 CODEC(ZSTD(1)),
    started_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    version UInt32 CODEC(ZSTD(1)),
    record String CODEC(ZSTD(3)),
    request String ALIAS JSONExtractRaw(record, 'request'),
    response String ALIAS JSONExtractRaw(record, 'response')",
    engine: ("ReplacingMergeTree", "version"),
    order: "(place, id)",
    partition: Some("toYYYYMM(started_at)"),
    ages_by: Some("started_at"),
    shard_by: "cityHash64(id)",
    // Small granules and blocks: a row is read and decompressed together with its neighbors.
    settings: Some(
        "index_granularity = 8, min_compress_block_size = 4096, max_compress_block_size = 65536",
    ),
    trace_id: None,
    is_derived: false,
};

pub const ATTEMPTS: Table = Table {
    name: "attempts",
    columns: "
    trace_id UInt128 CODEC(ZSTD(1)),
    number UInt32,
    started_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    provider LowCardinality(String),
    model LowCardinality(String),
    status UInt16 CODEC(ZSTD(1)),
    error LowCardinality(String),
    latency_us Int64 CODEC(T64, ZSTD(1))",
    engine: ("ReplacingMergeTree", ""),
    order: "(trace_id, number)",
    partition: Some("toYYYYMM(started_at)"),
    ages_by: Some("started_at"),
    shard_by: "cityHash64(trace_id)",
    // A page needs the attempts of traces that are far apart.
    settings: Some("index_granularity = 256"),
    trace_id: Some("trace_id"),
    is_derived: false,
};

pub const HOURLY: Table = Table {
    name: "model_stats_hourly",
    columns: "
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    provider LowCardinality(String),
    model LowCardinality(String),
    alias LowCardinality(String),
    client_key LowCardinality(String),
    requests SimpleAggregateFunction(sum, UInt64),
    errors SimpleAggregateFunction(sum, UInt64),
    tokens_input SimpleAggregateFunction(sum, UInt64),
    tokens_output SimpleAggregateFunction(sum, UInt64),
    cost_total SimpleAggregateFunction(sum, Int64),
    latency_us AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), Int64)",
    engine: ("AggregatingMergeTree", ""),
    order: "(hour, provider, model, alias, client_key)",
    partition: Some("toYYYYMM(hour)"),
    ages_by: Some("hour"),
    shard_by: "rand()",
    settings: None,
    trace_id: None,
    is_derived: true,
};

pub const DAILY: Table = Table {
    name: "cluster_stats_daily",
    columns: "
    day Date CODEC(Delta, ZSTD(1)),
    cluster_id UInt32,
    provider LowCardinality(String),
    model LowCardinality(String),
    requests SimpleAggregateFunction(sum, UInt64),
    errors SimpleAggregateFunction(sum, UInt64),
    tokens_input SimpleAggregateFunction(sum, UInt64),
    tokens_output SimpleAggregateFunction(sum, UInt64),
    cost_total SimpleAggregateFunction(sum, Int64),
    latency_us AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), Int64)",
    engine: ("AggregatingMergeTree", ""),
    order: "(day, cluster_id, provider, model)",
    partition: Some("toYYYYMM(day)"),
    ages_by: Some("day"),
    shard_by: "rand()",
    settings: None,
    trace_id: None,
    is_derived: true,
};
