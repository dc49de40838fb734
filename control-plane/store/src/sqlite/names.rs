//! Recurring names, each stored once and referred to by number.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _};

/// Limit on cached names, because a client can request models by any name.
const MAX_REMEMBERED: usize = 10_000;

/// A cache of the numbers of names, for the writer.
#[derive(Debug, Default)]
pub struct Names {
    known: HashMap<String, i64>,
}

impl Names {
    /// Returns the number of a name; assigns one to a new name.
    pub fn number(
        &mut self,
        connection: &Connection,
        name: Option<&str>,
    ) -> Result<Option<i64>, rusqlite::Error> {
        let Some(name) = name else {
            return Ok(None);
        };
        if let Some(&number) = self.known.get(name) {
            return Ok(Some(number));
        }
        connection
            .prepare_cached("INSERT OR IGNORE INTO names (name) VALUES (?)")?
            .execute([name])?;
        let number = find(connection, name)?;
        if self.known.len() >= MAX_REMEMBERED {
            self.known.clear();
        }
        self.known
            .extend(number.map(|number| (name.to_owned(), number)));
        Ok(number)
    }

    /// Clears the cache, because a rollback may have removed names.
    pub fn forget(&mut self) {
        self.known.clear();
    }
}

/// Returns the number of a name; `None` if no trace has the name.
pub fn find(connection: &Connection, name: &str) -> Result<Option<i64>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT number FROM names WHERE name = ?")?
        .query_row([name], |row| row.get(0))
        .optional()
}

/// Returns all names by number.
pub fn all(connection: &Connection) -> Result<HashMap<i64, String>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT number, name FROM names")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}
