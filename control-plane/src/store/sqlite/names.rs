//! Names that come again and again, stored once each.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _};

/// A client can ask for models by any name, so what is remembered of them is bounded.
const MAX_REMEMBERED: usize = 10_000;

/// The numbers of names, as the writer has met them.
#[derive(Debug, Default)]
pub struct Names {
    known: HashMap<String, i64>,
}

impl Names {
    /// The number of a name, a new one where it has none.
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

    /// Forgets all: what was written may be undone.
    pub fn forget(&mut self) {
        self.known.clear();
    }
}

/// The number of a name; `None` where no trace has it.
pub fn find(connection: &Connection, name: &str) -> Result<Option<i64>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT number FROM names WHERE name = ?")?
        .query_row([name], |row| row.get(0))
        .optional()
}

/// All names by their numbers.
pub fn all(connection: &Connection) -> Result<HashMap<i64, String>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT number, name FROM names")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}
