//! The tables of a file, and the migrations from older versions.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use crate::resource::Resource;
use crate::sqlite::tables::Table;

/// Identifies files of opentracy.
const APPLICATION_ID: i32 = 0x4f54_5243;
/// Holds the number of a resource's own steps that were applied. Created with the first of them.
const VERSIONS: &str = "
    CREATE TABLE IF NOT EXISTS resource_versions (
        resource TEXT PRIMARY KEY,
        version INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// The tables of all resources.
///
/// A file's `user_version` is the number of all steps that were applied to it: those of the
/// history, then those of each resource. An older program refuses a file with more steps than it
/// has.
#[derive(Debug)]
pub struct Schema {
    /// The steps from before resources had their own.
    pub history: &'static [&'static str],
    pub resources: &'static [Resource],
}

impl Schema {
    /// Returns the tables of all resources.
    pub fn tables(&self) -> impl Iterator<Item = &'static Table> + use<> {
        self.resources
            .iter()
            .flat_map(|resource| resource.sqlite.tables)
    }

    /// Returns the version of the tables that this program creates.
    pub fn newest(&self) -> usize {
        let own = self.resources.iter().map(|each| each.sqlite.steps.len());
        self.history.len() + own.sum::<usize>()
    }

    /// Describes why a file doesn't match this program; `None` if it does.
    pub fn problem(&self, connection: &Connection, version: u32) -> Option<String> {
        let owner = connection.pragma_query_value(None, "application_id", |row| row.get(0));
        if owner != Ok(APPLICATION_ID) {
            return Some("its header doesn't identify it as an opentracy file".to_owned());
        }
        let known = self.newest();
        (version as usize != known).then(|| {
            format!("the tables are at schema {version} and this program at {known}: run `opentracy migrate` with the newer program")
        })
    }

    /// Migrates the tables to this program's version.
    ///
    /// # Errors
    ///
    /// The file is not of opentracy, is of a newer version, or rejects a step. Steps before the
    /// rejected one stay applied.
    pub fn migrate(&self, connection: &Connection) -> anyhow::Result<()> {
        let version = version(connection)? as usize;
        let owner: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        if version > 0 && owner != APPLICATION_ID {
            anyhow::bail!(
                "it was not created by this version of opentracy; move it away, or set `store.path` to another file"
            );
        }
        let applied = resource_versions(connection)?;
        for (name, &found) in &applied {
            let known = self.steps_of(name).len();
            if found > known {
                anyhow::bail!(
                    "its tables of `{name}` were written by a newer version of opentracy (version {found}, this one supports {known}); update opentracy"
                );
            }
        }
        let mut total = self.history.len() + applied.values().sum::<usize>();
        if version > total {
            anyhow::bail!(
                "it was written by a newer version of opentracy (schema {version}, this one supports {}); update opentracy",
                self.newest()
            );
        }
        for (index, step) in self.history.iter().enumerate().skip(version) {
            apply(connection, step, index + 1)?;
        }
        for resource in self.resources {
            let name = resource.name;
            let done = applied.get(name).copied().unwrap_or_default();
            for (index, step) in resource.sqlite.steps.iter().enumerate().skip(done) {
                total += 1;
                let own = index + 1;
                let note =
                    format!("INSERT OR REPLACE INTO resource_versions VALUES ('{name}', {own});");
                apply(connection, &format!("{VERSIONS} {step} {note}"), total)?;
            }
        }
        Ok(())
    }

    fn steps_of(&self, name: &str) -> &'static [&'static str] {
        let mut resources = self.resources.iter();
        let resource = resources.find(|resource| resource.name == name);
        resource.map_or(&[], |resource| resource.sqlite.steps)
    }
}

/// Applies a step as one transaction.
fn apply(connection: &Connection, step: &str, version: usize) -> Result<(), rusqlite::Error> {
    connection.execute_batch(&format!(
        "BEGIN; {step} PRAGMA user_version = {version}; PRAGMA application_id = {APPLICATION_ID}; COMMIT;"
    ))
}

/// Returns the version of a file's tables; 0 for a new file.
pub fn version(connection: &Connection) -> Result<u32, rusqlite::Error> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Returns the number of own steps that were applied, for each resource that has any.
fn resource_versions(connection: &Connection) -> Result<BTreeMap<String, usize>, rusqlite::Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'resource_versions')";
    if !connection.query_row(sql, params![], |row| row.get(0))? {
        return Ok(BTreeMap::new());
    }
    connection
        .prepare("SELECT resource, version FROM resource_versions")?
        .query_map(params![], |row| {
            Ok((row.get(0)?, row.get::<_, u32>(1)? as usize))
        })?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clickhouse;
    use crate::sqlite::Tables;

    const HISTORY: &[&str] = &["CREATE TABLE a (x);", "CREATE TABLE b (x);"];

    const fn resource(name: &'static str, steps: &'static [&'static str]) -> Resource {
        Resource {
            name,
            sqlite: Tables { steps, tables: &[] },
            clickhouse: clickhouse::Tables {
                steps: &[],
                tables: &[],
            },
        }
    }

    const NOTES: Resource = resource("notes", &["CREATE TABLE notes (x);"]);
    const NOTES_2: Resource = resource(
        "notes",
        &["CREATE TABLE notes (x);", "ALTER TABLE notes ADD COLUMN y;"],
    );
    const DATASETS: Resource = resource("datasets", &["CREATE TABLE datasets (x);"]);

    fn schema(resources: &'static [Resource]) -> Schema {
        Schema {
            history: HISTORY,
            resources,
        }
    }

    fn file() -> Connection {
        Connection::open_in_memory().unwrap()
    }

    fn tables(connection: &Connection) -> String {
        let sql = "SELECT group_concat(sql, '; ' ORDER BY name) FROM sqlite_master WHERE name <> 'resource_versions'";
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn resources_of_two_branches_meet_in_any_order() {
        let all = schema(&[NOTES_2, DATASETS]);
        let new = file();
        all.migrate(&new).unwrap();
        let ways: [&[Schema]; 4] = [
            &[schema(&[])],
            &[schema(&[NOTES])],
            &[schema(&[DATASETS])],
            &[schema(&[NOTES]), schema(&[NOTES_2])],
        ];
        for way in ways {
            let connection = file();
            for step in way {
                step.migrate(&connection).unwrap();
            }
            all.migrate(&connection).unwrap();
            all.migrate(&connection).unwrap();
            assert_eq!(tables(&connection), tables(&new));
            assert_eq!(version(&connection), Ok(5));
            assert_eq!(all.problem(&connection, 5), None);
        }
    }

    #[test]
    fn a_file_without_resources_of_its_own_has_no_table_of_versions() {
        let connection = file();
        schema(&[]).migrate(&connection).unwrap();
        assert_eq!(version(&connection), Ok(2));
        assert_eq!(resource_versions(&connection), Ok(BTreeMap::new()));
        let sql = "SELECT count(*) FROM sqlite_master";
        assert_eq!(connection.query_row(sql, [], |row| row.get(0)), Ok(2));
    }

    #[test]
    fn a_program_refuses_tables_that_it_does_not_know() {
        let refusal = |written_by: Schema, opened_by: Schema| {
            let connection = file();
            written_by.migrate(&connection).unwrap();
            opened_by.migrate(&connection).unwrap_err().to_string()
        };
        let message = refusal(schema(&[NOTES]), schema(&[DATASETS]));
        assert!(
            message.contains("`notes`") && message.contains("newer"),
            "{message}"
        );
        let message = refusal(schema(&[NOTES_2]), schema(&[NOTES]));
        assert!(
            message.contains("version 2, this one supports 1"),
            "{message}"
        );
        // A program from before resources had steps of their own compares the number of steps.
        let connection = file();
        schema(&[NOTES]).migrate(&connection).unwrap();
        assert!(version(&connection).unwrap() as usize > HISTORY.len());
    }

    #[test]
    fn a_file_with_more_steps_of_the_history_is_refused() {
        let connection = file();
        schema(&[]).migrate(&connection).unwrap();
        connection.pragma_update(None, "user_version", 9).unwrap();
        let message = schema(&[]).migrate(&connection).unwrap_err().to_string();
        assert!(
            message.contains("(schema 9, this one supports 2)"),
            "{message}"
        );
    }
}
