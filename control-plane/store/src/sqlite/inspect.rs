//! Checks a file for damage without changing it.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::sqlite::schema::{self, Schema};

/// Limit on the messages of SQLite's own check.
const MAX_MESSAGES: u32 = 50;

/// The findings in a file.
#[derive(Debug, Default)]
pub struct Inspection {
    /// The version of the tables.
    pub schema: Option<u32>,
    /// Number of rows of each table.
    pub counts: Vec<(&'static str, u64)>,
    /// Empty if the file is undamaged.
    pub problems: Vec<String>,
}

/// Checks a file against the tables that this program creates.
pub fn inspect(path: &Path, schema: &Schema) -> Result<Inspection, rusqlite::Error> {
    let connection = open(path)?;
    let mut found = Inspection::default();
    match schema::version(&connection) {
        Ok(version) => {
            found.schema = Some(version);
            found.problems.extend(schema.problem(&connection, version));
        }
        Err(error) => found.problems.push(format!("its header: {error}")),
    }
    if let Err(error) = integrity(&connection, &mut found.problems) {
        found.problems.push(format!("integrity_check: {error}"));
    }
    for table in schema.tables().map(|table| table.name) {
        let sql = format!("SELECT count(*) FROM {table}");
        match connection.query_row(&sql, [], |row| row.get::<_, i64>(0)) {
            Ok(count) => found.counts.push((table, count.unsigned_abs())),
            Err(error) => found.problems.push(format!("table {table}: {error}")),
        }
    }
    let count_of = |name| found.counts.iter().find(|(table, _)| *table == name);
    if let (Some((_, traces)), Some((_, bodies))) = (count_of("traces"), count_of("bodies"))
        && traces != bodies
    {
        let problem = format!("{traces} rows in traces, but {bodies} in bodies");
        found.problems.push(problem);
    }
    Ok(found)
}

/// Opens a file without a checkpoint on close: its WAL stays, and a control plane may be using it.
pub fn open(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    Ok(connection)
}

/// Runs SQLite's own check, which covers the full-text index.
fn integrity(connection: &Connection, problems: &mut Vec<String>) -> Result<(), rusqlite::Error> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({MAX_MESSAGES})"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let message: String = row.get(0)?;
        if message != "ok" {
            problems.push(format!("integrity_check: {}", message.replace('\n', "; ")));
        }
    }
    Ok(())
}
