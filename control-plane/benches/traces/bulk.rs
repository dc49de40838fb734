//! The speed of SQLite alone: the same bytes in one column, without an index, a search or a
//! journal.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use opentracy_proto::v1;
use rusqlite::Connection;

const IN_A_TRANSACTION: usize = 2000;

pub fn run(folder: &Path, traces: &[v1::Trace], count: usize) -> Result<Duration> {
    let rows: Vec<Vec<u8>> = traces
        .iter()
        .cycle()
        .take(IN_A_TRANSACTION)
        .map(prost::Message::encode_to_vec)
        .collect();
    let mut connection = Connection::open(folder.join("bulk.db"))?;
    connection.pragma_update(None, "page_size", 8192)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch("CREATE TABLE rows (number INTEGER PRIMARY KEY, row BLOB)")?;
    let started = Instant::now();
    let mut left = count;
    while left > 0 {
        let transaction = connection.transaction()?;
        for row in rows.iter().take(left) {
            transaction
                .prepare_cached("INSERT INTO rows (row) VALUES (?)")?
                .execute([row])?;
        }
        left -= left.min(rows.len());
        transaction.commit()?;
    }
    Ok(started.elapsed())
}
