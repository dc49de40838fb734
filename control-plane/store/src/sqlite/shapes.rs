//! The shapes of rows, by which a repair knows the table of a row that it finds on a page.
//!
//! They are read from the migrated tables, so a resource describes its columns only once, in the
//! steps that create them. Rows of different tables must differ in the number or the types of
//! their values, and keys must be stored in the row; tests of this module check all tables.

use rusqlite::Connection;
use rusqlite::types::Value;

use crate::sqlite::schema::Schema;
use crate::sqlite::tables::Table;

/// The shape of a table's rows.
#[derive(Debug)]
pub struct Shape {
    pub table: &'static Table,
    /// In the order in which they are stored: the key of a table without row ids comes first.
    columns: Vec<Column>,
}

#[derive(Debug, Clone, PartialEq)]
struct Column {
    name: String,
    kind: Kind,
    may_be_null: bool,
    /// Rows from before the column was added lack it.
    may_be_missing: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Integer,
    Real,
    Text,
    Blob,
    /// The key of a table with row ids. Its place in the row holds null.
    RowId,
    /// A blob of 16 bytes: a column named `id` or `…_id`.
    Id,
}

impl Shape {
    /// Returns the shapes of all tables whose rows a repair copies as they are.
    pub fn all(schema: &Schema) -> anyhow::Result<Vec<Self>> {
        let connection = Connection::open_in_memory()?;
        schema.migrate(&connection)?;
        let copied = schema.tables().filter(|table| table.rescued_as.is_some());
        copied
            .map(|table| {
                let columns = columns(&connection, table.name)?;
                anyhow::ensure!(!columns.is_empty(), "the table {} does not exist", table.name);
                anyhow::ensure!(
                    !columns.iter().any(|column| column.kind == Kind::RowId),
                    "the key of {} is the row id, which the row does not hold; declare it WITHOUT ROWID",
                    table.name
                );
                Ok(Self { table, columns })
            })
            .collect()
    }

    /// Returns `true` if a row can be of this table.
    pub fn matches(&self, row: &[Value]) -> bool {
        let (present, missing) = match self.columns.split_at_checked(row.len()) {
            Some(parts) => parts,
            None => return false,
        };
        let mut pairs = present.iter().zip(row);
        pairs.all(|(column, value)| column.matches(value))
            && missing.iter().all(|column| column.may_be_missing)
    }

    /// Returns the statement that inserts a row of so many values.
    pub fn insert(&self, values: usize) -> String {
        let names = self.columns.iter().take(values);
        let names: Vec<&str> = names.map(|column| column.name.as_str()).collect();
        format!(
            "INSERT OR REPLACE INTO {} ({}) VALUES ({})",
            self.table.name,
            names.join(", "),
            vec!["?"; names.len()].join(", "),
        )
    }
}

impl Column {
    fn matches(&self, value: &Value) -> bool {
        match value {
            Value::Null => self.may_be_null,
            // SQLite stores whole numbers as integers to save space.
            Value::Integer(_) => matches!(self.kind, Kind::Integer | Kind::Real),
            Value::Real(_) => self.kind == Kind::Real,
            Value::Text(_) => self.kind == Kind::Text,
            Value::Blob(bytes) => match self.kind {
                Kind::Id => bytes.len() == 16,
                kind => kind == Kind::Blob,
            },
        }
    }
}

fn columns(connection: &Connection, table: &str) -> Result<Vec<Column>, rusqlite::Error> {
    let sql = "SELECT info.name, info.type, info.\"notnull\", info.dflt_value IS NOT NULL,
            info.pk > 0 AND NOT list.wr
        FROM pragma_table_list AS list, pragma_table_info(list.name) AS info
        WHERE list.name = ?
        ORDER BY IIF(list.wr AND info.pk > 0, info.pk, 1000), info.cid";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([table], |row| {
        let name: String = row.get(0)?;
        let kind: String = row.get(1)?;
        let is_key: bool = row.get(4)?;
        let may_be_null = !row.get::<_, bool>(2)?;
        Ok(Column {
            kind: match kind.as_str() {
                "INTEGER" if is_key => Kind::RowId,
                "INTEGER" => Kind::Integer,
                "REAL" => Kind::Real,
                "TEXT" => Kind::Text,
                _ if name == "id" || name.ends_with("_id") => Kind::Id,
                _ => Kind::Blob,
            },
            name,
            may_be_null,
            may_be_missing: may_be_null || row.get(3)?,
        })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::SQLITE;

    impl Shape {
        /// Returns `true` if a row can be of both tables.
        fn overlaps(&self, columns: &[Column]) -> bool {
            let own = self.columns.as_slice();
            let (shorter, longer) = match own.len() < columns.len() {
                true => (own, columns),
                false => (columns, own),
            };
            let mut pairs = shorter.iter().zip(longer);
            pairs.all(|(one, other)| one.overlaps(other))
                && longer[shorter.len()..]
                    .iter()
                    .all(|column| column.may_be_missing)
        }
    }

    impl Column {
        fn overlaps(&self, other: &Self) -> bool {
            let is_number = |kind| matches!(kind, Kind::Integer | Kind::Real);
            let is_blob = |kind| matches!(kind, Kind::Blob | Kind::Id);
            let (one, other_kind) = (self.kind, other.kind);
            one == other_kind
                || (is_number(one) && is_number(other_kind))
                || (is_blob(one) && is_blob(other_kind))
                || (self.may_be_null && other.may_be_null)
        }
    }

    /// Returns the columns of every table and index of a file.
    fn stored() -> Vec<(String, Vec<Column>)> {
        let connection = Connection::open_in_memory().unwrap();
        SQLITE.migrate(&connection).unwrap();
        let names = |sql: &str| -> Vec<(String, String)> {
            let mut statement = connection.prepare(sql).unwrap();
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
            rows.unwrap().map(Result::unwrap).collect()
        };
        let tables = names(
            "SELECT name, name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name <> 'sqlite_schema'",
        );
        let indexes = names("SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index'");
        let table = |(name, _): (String, String)| {
            let columns = columns(&connection, &name).unwrap();
            (name, columns)
        };
        let mut stored: Vec<(String, Vec<Column>)> = tables.into_iter().map(table).collect();
        for (index, table) in indexes {
            let of_table = columns(&connection, &table).unwrap();
            let sql = "SELECT name FROM pragma_index_xinfo(?)";
            let mut statement = connection.prepare(sql).unwrap();
            let rows = statement.query_map([&index], |row| row.get::<_, Option<String>>(0));
            let keys = rows.unwrap().map(|name| {
                let name = name.unwrap();
                let found = of_table
                    .iter()
                    .find(|column| Some(&column.name) == name.as_ref());
                found.cloned().unwrap_or_else(|| Column {
                    name: "rowid".to_owned(),
                    kind: Kind::Integer,
                    may_be_null: false,
                    may_be_missing: false,
                })
            });
            let keys: Vec<Column> = keys.collect();
            // The index of a key of a table without row ids is the table.
            if keys.len() != of_table.len() {
                stored.push((index, keys));
            }
        }
        stored
    }

    #[test]
    fn no_other_table_or_index_has_rows_of_the_same_shape() {
        let stored = stored();
        for shape in Shape::all(&SQLITE).unwrap() {
            let same = stored.iter().filter(|(_, columns)| shape.overlaps(columns));
            let same: Vec<&str> = same.map(|(name, _)| name.as_str()).collect();
            assert_eq!(
                same,
                [shape.table.name],
                "a repair can't tell rows of {} apart: order its columns differently, or add a column that names the kind of row",
                shape.table.name
            );
        }
    }

    #[test]
    fn rows_are_known_by_their_values() {
        let shapes = Shape::all(&SQLITE).unwrap();
        let table = |row: &[Value]| {
            let mut shapes = shapes.iter().filter(|shape| shape.matches(row));
            shapes.next().map(|shape| shape.table.name)
        };
        let text = || Value::Text("x".to_owned());
        let id = |length| Value::Blob(vec![7; length]);
        let feedback = |id, error| [id, text(), Value::Integer(9), error];
        assert_eq!(table(&feedback(id(16), Value::Real(0.5))), Some("feedback"));
        // SQLite stores whole numbers as integers.
        assert_eq!(
            table(&feedback(id(16), Value::Integer(1))),
            Some("feedback")
        );
        assert_eq!(table(&feedback(id(15), Value::Real(0.5))), None);
        assert_eq!(table(&feedback(Value::Null, Value::Real(0.5))), None);
        let audit = [
            Value::Integer(9),
            text(),
            text(),
            text(),
            Value::Integer(3),
            text(),
        ];
        assert_eq!(table(&audit), Some("audit"));
        // From before the column `actor`.
        assert_eq!(table(&audit[..5]), Some("audit"));
        assert_eq!(table(&audit[..4]), None);
    }
}
