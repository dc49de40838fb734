//! Records and attempts as ClickHouse rows. A missing text is empty, a missing number null.

use clickhouse::_priv::RowKind;
use clickhouse::Row;
use opentracy_trace::columns::{COLUMNS, Type};
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use crate::{Attempt, Micros, Record, SortKey, StoreError};

/// A row of `calls`.
#[derive(Debug)]
pub struct CallRow {
    place: i64,
    /// 0 when first stored; increases with each rewrite.
    version: u32,
    words: String,
    /// The values of [`COLUMNS`].
    cells: Vec<Cell>,
}

/// The columns of `calls` that aren't in [`COLUMNS`].
const OWN: [&str; 3] = ["place", "version", "words"];
const COUNT: usize = OWN.len() + columns();
/// All columns of a row, in order.
const NAMES: [&str; COUNT] = names();

/// Returns the number of columns of [`COLUMNS`] that `calls` has.
const fn columns() -> usize {
    let (mut index, mut count) = (0, 0);
    while index < COLUMNS.len() {
        count += COLUMNS[index].clickhouse.is_some() as usize;
        index += 1;
    }
    count
}

const fn names() -> [&'static str; COUNT] {
    let mut names = [OWN[0]; COUNT];
    (names[1], names[2]) = (OWN[1], OWN[2]);
    let (mut index, mut next) = (0, OWN.len());
    while index < COLUMNS.len() {
        if let Some(name) = COLUMNS[index].clickhouse {
            names[next] = name;
            next += 1;
        }
        index += 1;
    }
    names
}

/// A value of a row, as the client sends it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Cell {
    Id(u128),
    Text(String),
    Flag(bool),
    Status(u16),
    Index(Option<u32>),
    Count(Option<u64>),
    Number(Option<f64>),
    Integer(i64),
    OptionalInteger(Option<i64>),
    Labels(Vec<(String, String)>),
}

#[derive(Debug, Row, Serialize)]
pub struct BodyRow {
    pub place: i64,
    pub id: u128,
    pub started_at: i64,
    pub version: u32,
    /// JSON.
    pub record: String,
}

#[derive(Debug, Row, Serialize, Deserialize)]
pub struct AttemptRow {
    pub trace_id: u128,
    pub number: u32,
    pub started_at: i64,
    pub provider: String,
    pub model: String,
    pub status: u16,
    pub error: String,
    pub latency_us: i64,
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

impl CallRow {
    pub fn new(record: &Record, words: String, version: u32) -> Self {
        let columns = COLUMNS.iter().filter(|column| column.clickhouse.is_some());
        Self {
            place: SortKey::of_record(record).0,
            version,
            words,
            cells: columns.map(|column| cell(column.value, record)).collect(),
        }
    }
}

fn cell(column: Type, record: &Record) -> Cell {
    match column {
        Type::Id(read) => Cell::Id(read(record).as_u128()),
        Type::Name(read) | Type::Text(read) => {
            Cell::Text(read(record).unwrap_or_default().to_owned())
        }
        Type::Flag(read) => Cell::Flag(read(record)),
        Type::Status(read) => Cell::Status(read(record)),
        Type::Index(read) => Cell::Index(read(record)),
        Type::Count(read) => Cell::Count(read(record)),
        Type::Number(read) => Cell::Number(read(record)),
        Type::Time(read) | Type::Duration(read) => Cell::Integer(read(record).0),
        Type::OptionalDuration(read) => Cell::OptionalInteger(read(record).map(|time| time.0)),
        Type::Money(read) => Cell::OptionalInteger(read(record).map(|sum| sum.0)),
        Type::Labels(read) => {
            let own = |(name, value): (&String, &String)| (name.clone(), value.clone());
            Cell::Labels(read(record).iter().map(own).collect())
        }
        // They have a table of their own.
        Type::Attempts => Cell::Text(String::new()),
    }
}

/// The derive macro needs a field for each column, so this is what it would expand to.
impl Row for CallRow {
    const NAME: &'static str = "CallRow";
    const COLUMN_NAMES: &'static [&'static str] = &NAMES;
    const COLUMN_COUNT: usize = COUNT;
    const KIND: RowKind = RowKind::Struct;
    type Value<'a> = Self;
}

impl Serialize for CallRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_struct("CallRow", COUNT)?;
        row.serialize_field("place", &self.place)?;
        row.serialize_field("version", &self.version)?;
        row.serialize_field("words", &self.words)?;
        for (name, cell) in NAMES.into_iter().skip(OWN.len()).zip(&self.cells) {
            row.serialize_field(name, cell)?;
        }
        row.end()
    }
}

impl BodyRow {
    pub fn new(record: &Record, version: u32) -> Result<Self, StoreError> {
        Ok(Self {
            place: SortKey::of_record(record).0,
            id: record.id.as_u128(),
            started_at: record.started_at.0,
            version,
            record: record.to_json().map_err(StoreError::unreadable)?,
        })
    }
}

impl From<Attempt> for AttemptRow {
    fn from(attempt: Attempt) -> Self {
        Self {
            trace_id: attempt.trace_id.as_u128(),
            number: attempt.number,
            started_at: attempt.started_at.0,
            provider: attempt.provider,
            model: attempt.model,
            status: attempt.status.unwrap_or_default(),
            error: attempt.error.unwrap_or_default(),
            latency_us: attempt.latency.0,
        }
    }
}

impl From<AttemptRow> for Attempt {
    fn from(row: AttemptRow) -> Self {
        Self {
            trace_id: Uuid::from_u128(row.trace_id),
            number: row.number,
            started_at: Micros(row.started_at),
            provider: row.provider,
            model: row.model,
            status: (row.status != 0).then_some(row.status),
            error: some(row.error),
            latency: Micros(row.latency_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::clickhouse::Topology;
    use crate::history::CLICKHOUSE;

    /// Returns the names and types of the columns of `calls` after all migrations.
    fn migrated() -> BTreeMap<String, String> {
        let topology = Topology {
            database: "db".to_owned(),
            cluster: None,
            retention_days: 90,
        };
        let migrations = (CLICKHOUSE.history)(&topology).into_iter();
        let statements = migrations.flat_map(|migration| migration.statements);
        let mut columns = Vec::new();
        for statement in statements {
            if let Some(table) = statement.strip_prefix("CREATE TABLE IF NOT EXISTS `db`.calls (") {
                let (table, _) = table.split_once("\n) ENGINE").unwrap();
                // Further lines of a column are indented more, or begin with a bracket.
                let begins = |line: &&str| {
                    let text = line.strip_prefix("    ");
                    text.is_some_and(|text| text.starts_with(|letter: char| letter.is_alphabetic()))
                };
                let lines = table.lines().filter(begins);
                columns.extend(lines.map(|line| line.trim().trim_end_matches(',').to_owned()));
            } else if let Some(change) = statement.strip_prefix("ALTER TABLE `db`.calls ") {
                let added = change.strip_prefix("ADD COLUMN IF NOT EXISTS ");
                columns.extend(added.map(str::to_owned));
            }
        }
        let columns = columns.iter().filter_map(|column| {
            let (name, rest) = column.split_once(' ')?;
            let (kind, _) = rest.split_once(" CODEC").unwrap_or((rest, ""));
            Some((name.to_owned(), kind.to_owned()))
        });
        columns.collect()
    }

    #[test]
    fn the_migrated_table_has_the_columns() {
        let migrated = migrated();
        let stored = COLUMNS.iter().filter_map(|column| {
            let name = column.clickhouse?;
            Some((name, column.value.clickhouse()))
        });
        let own = [
            ("place", "Int64"),
            ("version", "UInt32"),
            ("words", "String"),
        ];
        for (name, kind) in stored.chain(own) {
            assert_eq!(migrated.get(name).map(String::as_str), Some(kind), "{name}");
        }
        let others = migrated
            .keys()
            .filter(|name| !NAMES.contains(&name.as_str()));
        let others: Vec<&str> = others.map(String::as_str).collect();
        assert_eq!(others, ["INDEX", "labels"], "columns that no row has");
    }
}
