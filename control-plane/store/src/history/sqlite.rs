//! The migrations of SQLite files.

/// The migrations, one for each version.
///
/// `traces` holds the columns for filters and statistics in as few bytes as possible: a million
/// rows are read in a tenth of a second. Its key is the call's place, which sorts by time, so
/// listing the newest first needs no index. `bodies` holds the records themselves.
pub const STEPS: &[&str] = &[
    "
    CREATE TABLE names (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
    CREATE TABLE traces (
        place INTEGER PRIMARY KEY,
        provider INTEGER,
        model INTEGER,
        alias INTEGER,
        client_key INTEGER,
        error_type INTEGER,
        cluster_id INTEGER,
        status INTEGER NOT NULL,
        latency INTEGER NOT NULL,
        time_to_first_token INTEGER,
        tokens_input INTEGER,
        tokens_output INTEGER,
        cost INTEGER
    ) STRICT;
    CREATE INDEX traces_with_errors ON traces (error_type) WHERE error_type IS NOT NULL;
    CREATE TABLE bodies (
        place INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        session_id TEXT,
        user TEXT,
        record BLOB NOT NULL
    ) STRICT;
    CREATE INDEX bodies_by_session ON bodies (session_id) WHERE session_id IS NOT NULL;
    CREATE INDEX bodies_by_user ON bodies (user) WHERE user IS NOT NULL;
    CREATE TABLE labels (
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        place INTEGER NOT NULL,
        PRIMARY KEY (name, value, place)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE attempts (
        trace_id BLOB NOT NULL,
        number INTEGER NOT NULL,
        started_at INTEGER NOT NULL,
        provider TEXT NOT NULL,
        model TEXT NOT NULL,
        status INTEGER,
        error TEXT,
        latency INTEGER NOT NULL,
        PRIMARY KEY (trace_id, number)
    ) STRICT, WITHOUT ROWID;
    CREATE VIRTUAL TABLE words USING fts5 (
        word, content='', contentless_delete=1, detail=none, tokenize='ascii'
    );
    CREATE TABLE audit (
        at INTEGER NOT NULL,
        action TEXT NOT NULL,
        request_id TEXT NOT NULL,
        subject TEXT NOT NULL,
        count INTEGER NOT NULL
    ) STRICT;
",
    "
    CREATE TABLE feedback (
        trace_id BLOB NOT NULL,
        source TEXT NOT NULL,
        at INTEGER NOT NULL,
        error REAL NOT NULL,
        PRIMARY KEY (trace_id, source)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX feedback_by_time ON feedback (at);
",
    "
    ALTER TABLE audit ADD COLUMN actor TEXT NOT NULL DEFAULT '';
",
    "
    ALTER TABLE traces ADD COLUMN client INTEGER;
",
];

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn released_steps_never_change() {
        let digests = STEPS.iter().map(|step| {
            let digest = Sha256::digest(step);
            format!(
                "{:02x}{:02x}{:02x}{:02x}",
                digest[0], digest[1], digest[2], digest[3]
            )
        });
        let digests: Vec<String> = digests.collect();
        assert_eq!(digests, ["59e2326e", "84618208", "64fb1042", "16b5b651"]);
    }
}
