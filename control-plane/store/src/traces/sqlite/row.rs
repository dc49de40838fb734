//! A record as a row of `traces`.

use std::sync::LazyLock;

use opentracy_trace::columns::{COLUMNS, Column, Type};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::sqlite::names::Names;
use crate::{Micros, Record};

/// The names and readers of the columns. Each row begins with its place.
fn columns() -> impl Iterator<Item = (&'static str, &'static Column)> {
    COLUMNS
        .iter()
        .filter_map(|column| Some((column.sqlite?, column)))
}

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let names: Vec<&str> = columns().map(|(name, _)| name).collect();
    format!(
        "INSERT INTO traces (place, {}) VALUES (?{})",
        names.join(", "),
        ", ?".repeat(names.len())
    )
});

/// Inserts the row of a record at its place.
pub fn insert(
    connection: &Connection,
    names: &mut Names,
    place: i64,
    record: &Record,
) -> Result<(), rusqlite::Error> {
    let mut values = vec![Value::Integer(place)];
    for (_, column) in columns() {
        values.push(value(connection, names, column.value, record)?);
    }
    connection
        .prepare_cached(&INSERT)?
        .execute(params_from_iter(values))?;
    Ok(())
}

fn value(
    connection: &Connection,
    names: &mut Names,
    column: Type,
    record: &Record,
) -> Result<Value, rusqlite::Error> {
    Ok(match column {
        Type::Id(read) => Value::Blob(read(record).as_bytes().to_vec()),
        Type::Name(read) => names.number(connection, read(record))?.into(),
        Type::Text(read) => read(record).map(str::to_owned).into(),
        Type::Flag(read) => read(record).into(),
        Type::Status(read) => read(record).into(),
        Type::Index(read) => read(record).into(),
        Type::Count(read) => read(record).map(int).into(),
        Type::Number(read) => read(record).into(),
        Type::Time(read) | Type::Duration(read) => read(record).0.into(),
        Type::OptionalDuration(read) => read(record).map(|Micros(micros)| micros).into(),
        Type::Money(read) => read(record).map(|sum| sum.0).into(),
        // They have tables of their own.
        Type::Labels(_) | Type::Attempts => Value::Null,
    })
}

/// SQLite's integers are signed; real counts are far below their limit.
fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::history::SQLITE;

    #[test]
    fn the_migrated_table_has_the_columns() {
        let connection = Connection::open_in_memory().unwrap();
        SQLITE.migrate(&connection).unwrap();
        let mut statement = connection
            .prepare("SELECT name, type FROM pragma_table_info('traces')")
            .unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        let found: BTreeMap<String, String> = rows.unwrap().map(Result::unwrap).collect();
        let place = [("place".to_owned(), "INTEGER".to_owned())];
        let wanted = columns().map(|(name, column)| {
            let kind = column.value.sqlite();
            (name.to_owned(), kind.to_owned())
        });
        assert_eq!(found, wanted.chain(place).collect());
    }
}
