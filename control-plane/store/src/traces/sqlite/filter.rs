//! Converts a filter to SQL.
//!
//! The most selective conditions drive the query: a session, a user, a label or words. Each of them
//! is indexed in the order of places, so a page is found without scanning the rest. All other
//! conditions are checked row by row.

use opentracy_trace::columns::ERROR_TYPE;
use rusqlite::Connection;
use rusqlite::types::Value;

use crate::sqlite::names;
use crate::{Filter, Micros, SortKey};

/// A table with a filterable property that `traces` lacks.
struct Source {
    table: &'static str,
    place: &'static str,
    condition: &'static str,
    may_drive: bool,
}

const SESSION: Source = Source {
    table: "bodies AS of_session",
    place: "of_session.place",
    condition: "of_session.session_id = ?",
    may_drive: true,
};
const USER: Source = Source {
    table: "bodies AS of_user",
    place: "of_user.place",
    condition: "of_user.user = ?",
    may_drive: true,
};
const WORDS: Source = Source {
    table: "words",
    place: "words.rowid",
    condition: "words MATCH ?",
    may_drive: true,
};
const LABEL: Source = Source {
    table: "labels",
    place: "labels.place",
    condition: "labels.name = ? AND labels.value = ?",
    may_drive: true,
};
/// Can't drive: rows of one name are sorted by value, not by place.
const LABEL_NAME: Source = Source {
    table: "labels",
    place: "labels.place",
    condition: "labels.name = ?",
    may_drive: false,
};

/// The `FROM … WHERE …` of a query over `traces`, which can refer to that table by name.
#[derive(Debug)]
pub struct Selection {
    from: String,
    conditions: Vec<String>,
    pub values: Vec<Value>,
    /// The place column of the driving table.
    pub place: &'static str,
}

impl Selection {
    pub fn new(connection: &Connection, filter: &Filter) -> Result<Self, rusqlite::Error> {
        let mut selection = Self {
            from: String::new(),
            conditions: vec!["TRUE".to_owned()],
            values: Vec::new(),
            place: "",
        };
        selection.drive(filter);
        if let Some(since) = filter.since {
            selection.place_bound(">=", SortKey::first_at(since));
        }
        if let Some(until) = filter.until {
            selection.place_bound("<", SortKey::first_at(until));
        }
        selection.names(connection, filter)?;
        selection.numbers(filter);
        Ok(selection)
    }

    pub fn sql(&self) -> String {
        format!("FROM {} WHERE {}", self.from, self.conditions.join(" AND "))
    }

    pub fn and(&mut self, condition: impl Into<String>, value: impl Into<Value>) {
        self.conditions.push(condition.into());
        self.values.push(value.into());
    }

    pub fn place_bound(&mut self, operator: &str, place: SortKey) {
        self.and(format!("{} {operator} ?", self.place), place.0);
    }

    /// Chooses the driving table; the others become conditions on each row.
    fn drive(&mut self, filter: &Filter) {
        // Words consist of letters and digits; the quotes keep FTS5 from reading them as operators.
        let quoted: Vec<String> = filter
            .words
            .iter()
            .map(|word| format!("\"{word}\""))
            .collect();
        let words = (!quoted.is_empty()).then(|| quoted.join(" "));
        self.source(&SESSION, filter.session.as_ref());
        self.source(&USER, filter.user.as_ref());
        self.source(&WORDS, words.as_ref());
        for (name, value) in &filter.metadata {
            match value {
                Some(value) => {
                    self.source(&LABEL, Some(name));
                    self.values.push(value.clone().into());
                }
                None => self.source(&LABEL_NAME, Some(name)),
            }
        }
        if !self.from.is_empty() {
            let place = self.place;
            self.from
                .push_str(&format!(" CROSS JOIN traces ON traces.place = {place}"));
            return;
        }
        self.place = "traces.place";
        self.from
            .push_str(if filter.columns.contains_key(ERROR_TYPE) {
                "traces INDEXED BY traces_with_errors"
            } else {
                "traces"
            });
    }

    fn source(&mut self, source: &Source, value: Option<&String>) {
        let Some(value) = value else { return };
        let condition = source.condition;
        if self.from.is_empty() && source.may_drive {
            self.from.push_str(source.table);
            self.place = source.place;
            self.and(condition, value.clone());
        } else {
            let place = if self.from.is_empty() {
                "traces.place"
            } else {
                self.place
            };
            let (table, own) = (source.table, source.place);
            self.and(
                format!("EXISTS (SELECT 1 FROM {table} WHERE {condition} AND {own} = {place})"),
                value.clone(),
            );
        }
    }

    fn names(&mut self, connection: &Connection, filter: &Filter) -> Result<(), rusqlite::Error> {
        for (column, name) in &filter.columns {
            // An unknown name becomes NULL, which equals nothing.
            let number = names::find(connection, name)?;
            self.and(format!("traces.{column} = ?"), number);
        }
        if let Some(model) = &filter.model {
            let number = names::find(connection, model)?;
            // A model's own name may contain a slash.
            let (provider, rest) = match model.split_once('/') {
                Some((provider, rest)) => (
                    names::find(connection, provider)?,
                    names::find(connection, rest)?,
                ),
                None => (None, None),
            };
            self.and(
                "(traces.model = ? OR (traces.provider = ? AND traces.model = ?))",
                number,
            );
            self.values.extend([provider.into(), rest.into()]);
        }
        Ok(())
    }

    fn numbers(&mut self, filter: &Filter) {
        if let Some(cluster) = filter.cluster {
            self.and("traces.cluster_id = ?", i64::from(cluster));
        }
        if let Some(status) = &filter.status {
            self.and("traces.status >= ?", i64::from(*status.start()));
            self.and("traces.status <= ?", i64::from(*status.end()));
        }
        let micros = |bound: Option<Micros>| bound.map(|time| time.0);
        let count =
            |bound: Option<u64>| bound.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        let cost = filter.cost;
        for (column, min, max) in [
            ("cost", cost.min.map(|usd| usd.0), cost.max.map(|usd| usd.0)),
            (
                "latency",
                micros(filter.latency.min),
                micros(filter.latency.max),
            ),
            (
                "tokens_input + traces.tokens_output",
                count(filter.tokens.min),
                count(filter.tokens.max),
            ),
        ] {
            if let Some(min) = min {
                self.and(format!("traces.{column} >= ?"), min);
            }
            if let Some(max) = max {
                self.and(format!("traces.{column} <= ?"), max);
            }
        }
    }
}
