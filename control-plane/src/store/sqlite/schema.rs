//! The tables, and how a file of an older version becomes one of this.

use rusqlite::Connection;

/// One step for each version; a file's `user_version` says how many it has taken.
const STEPS: &[&str] = &[
    "
    CREATE TABLE traces (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        started_at INTEGER NOT NULL,
        requested_model TEXT NOT NULL,
        alias TEXT,
        provider TEXT,
        model TEXT,
        stream INTEGER NOT NULL,
        status INTEGER NOT NULL,
        outcome INTEGER NOT NULL,
        error_type TEXT,
        error_code TEXT,
        error_message TEXT,
        latency_us INTEGER NOT NULL,
        time_to_first_token_us INTEGER,
        routing_us INTEGER NOT NULL,
        tokens_input INTEGER,
        tokens_output INTEGER,
        tokens_cache_read INTEGER,
        tokens_cache_write INTEGER,
        tokens_reasoning INTEGER,
        cost_input REAL,
        cost_output REAL,
        cost_cache_read REAL,
        cost_cache_write REAL,
        cost_total REAL,
        session_id TEXT,
        cluster_id INTEGER,
        expected_error REAL,
        user TEXT,
        metadata TEXT NOT NULL,
        request TEXT,
        response TEXT,
        content_truncated INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX traces_by_time ON traces (started_at);
    CREATE INDEX traces_by_model ON traces (model, id);
    CREATE INDEX traces_by_alias ON traces (alias, id) WHERE alias IS NOT NULL;
    CREATE INDEX traces_by_session ON traces (session_id, id) WHERE session_id IS NOT NULL;
    CREATE TABLE attempts (
        trace_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        started_at INTEGER NOT NULL,
        provider TEXT NOT NULL,
        model TEXT NOT NULL,
        status INTEGER,
        error TEXT,
        latency_us INTEGER NOT NULL,
        PRIMARY KEY (trace_id, number)
    ) STRICT, WITHOUT ROWID;
    CREATE VIRTUAL TABLE trace_words USING fts5 (words, content='', contentless_delete=1);
",
    "
    ALTER TABLE traces ADD COLUMN api TEXT NOT NULL DEFAULT 'chat_completions';
",
];

pub fn migrate(connection: &Connection) -> anyhow::Result<()> {
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let version = version as usize;
    let Some(steps) = STEPS.get(version..) else {
        anyhow::bail!(
            "it was written by a newer version of opentracy (schema {version}, this one knows {}); update opentracy",
            STEPS.len()
        );
    };
    for (index, step) in steps.iter().enumerate() {
        let next = version + index + 1;
        connection.execute_batch(&format!(
            "BEGIN; {step} PRAGMA user_version = {next}; COMMIT;"
        ))?;
    }
    Ok(())
}
