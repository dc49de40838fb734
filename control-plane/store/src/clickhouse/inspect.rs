//! Checks that the tables exist and are undamaged.

use clickhouse::Row;
use serde::Deserialize;

use crate::StoreError;
use crate::clickhouse::engine::ClickHouse;

/// The findings in a database.
#[derive(Debug, Default)]
pub struct Inspection {
    pub schema: u32,
    pub newest_schema: usize,
    /// Number of rows of each table.
    pub counts: Vec<(&'static str, u64)>,
    /// Empty if the database is undamaged.
    pub problems: Vec<String>,
}

#[derive(Row, Deserialize)]
struct Part {
    part_path: String,
    is_passed: u8,
    message: String,
}

impl ClickHouse {
    /// Checks the tables without changing them. Returns an error if the server doesn't respond or
    /// has no `opentracy` tables.
    pub async fn inspect(&self) -> Result<Inspection, StoreError> {
        let schema = self.version().await?;
        let mut found = Inspection {
            schema,
            newest_schema: self.schema().newest(self.topology()),
            ..Inspection::default()
        };
        if found.schema as usize != found.newest_schema {
            found.problems.push(format!(
                "the tables are at schema {schema} and this program at {}: run `opentracy migrate` with the newer program",
                found.newest_schema
            ));
        }
        let tables = self.schema().tables().filter(|table| !table.is_derived);
        for name in tables.map(|table| table.name) {
            let table = self.topology().table(name);
            let sql = format!("SELECT count() FROM {table}");
            match self.client().query(&sql).fetch_one::<u64>().await {
                Ok(count) => found.counts.push((name, count)),
                Err(error) => found.problems.push(format!("table {name}: {error}")),
            }
            let sql = format!("CHECK TABLE {table} SETTINGS check_query_single_value_result = 0");
            match self.client().query(&sql).fetch_all::<Part>().await {
                Ok(parts) => {
                    let damaged = parts.iter().filter(|part| part.is_passed == 0);
                    found.problems.extend(damaged.map(
                        |Part {
                             part_path, message, ..
                         }| {
                            format!("table {name}, part {part_path}: {message}")
                        },
                    ));
                }
                // A distributed table doesn't support `CHECK`; its shards' tables do.
                Err(error) if error.to_string().contains("NOT_IMPLEMENTED") => {}
                Err(error) => found.problems.push(format!("table {name}: {error}")),
            }
        }
        Ok(found)
    }
}
