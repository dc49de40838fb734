//! Converts a filter to SQL.

use clickhouse::query::Query;
use serde::Serialize;

use crate::{Filter, Micros, SortKey};

/// A value bound to a `?`.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Value {
    Text(String),
    Number(i64),
    Words(Vec<String>),
}

/// The conditions of a `WHERE` clause and their values.
#[derive(Debug, Clone)]
pub struct Conditions {
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    pub fn new(filter: &Filter) -> Self {
        let mut all = Self {
            conditions: vec!["1".to_owned()],
            values: Vec::new(),
        };
        all.times(filter);
        all.names(filter);
        all.numbers(filter);
        for (name, value) in &filter.metadata {
            all.label(match value {
                Some(value) => format!("metadata.{name}={value}"),
                None => format!("metadata.{name}"),
            });
        }
        if !filter.words.is_empty() {
            all.and("hasAllTokens(words, ?)", Value::Words(filter.words.clone()));
        }
        all
    }

    pub fn and(&mut self, condition: impl Into<String>, value: Value) {
        self.conditions.push(condition.into());
        self.values.push(value);
    }

    /// Returns the text after `WHERE`.
    pub fn sql(&self) -> String {
        self.conditions.join(" AND ")
    }

    /// Binds the values of the conditions to a query.
    pub fn bind(&self, query: Query) -> Query {
        self.values
            .iter()
            .fold(query, |query, value| query.bind(value))
    }

    fn times(&mut self, filter: &Filter) {
        for (operator, time) in [(">=", filter.since), ("<", filter.until)] {
            if let Some(time) = time {
                let place = SortKey::first_at(time);
                self.and(format!("place {operator} ?"), Value::Number(place.0));
                // Selects partitions, which are by `started_at` and not by `place`.
                self.and(
                    format!("started_at {operator} fromUnixTimestamp64Micro(?)"),
                    Value::Number(time.0),
                );
            }
        }
    }

    fn label(&mut self, label: String) {
        self.and("has(labels, ?)", Value::Text(label));
    }

    fn names(&mut self, filter: &Filter) {
        for (column, name) in &filter.columns {
            self.and(format!("{column} = ?"), Value::Text(name.clone()));
        }
        for (label, name) in [("session", &filter.session), ("user", &filter.user)] {
            if let Some(name) = name {
                self.label(format!("{label}={name}"));
            }
        }
        if let Some(model) = &filter.model {
            // A model's own name may contain a slash.
            let (provider, rest) = model.split_once('/').unwrap_or_default();
            self.and(
                "(model = ? OR (provider = ? AND model = ?))",
                Value::Text(model.clone()),
            );
            self.values.push(Value::Text(provider.to_owned()));
            self.values.push(Value::Text(rest.to_owned()));
        }
    }

    fn numbers(&mut self, filter: &Filter) {
        if let Some(cluster) = filter.cluster {
            self.and("cluster_id = ?", Value::Number(i64::from(cluster)));
        }
        if let Some(status) = &filter.status {
            self.and("status >= ?", Value::Number(i64::from(*status.start())));
            self.and("status <= ?", Value::Number(i64::from(*status.end())));
        }
        let micros = |bound: Option<Micros>| bound.map(|time| time.0);
        let count =
            |bound: Option<u64>| bound.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        let cost = filter.cost;
        for (column, min, max) in [
            (
                "cost_total",
                cost.min.map(|usd| usd.0),
                cost.max.map(|usd| usd.0),
            ),
            (
                "latency_us",
                micros(filter.latency.min),
                micros(filter.latency.max),
            ),
            (
                "tokens_input + tokens_output",
                count(filter.tokens.min),
                count(filter.tokens.max),
            ),
        ] {
            if let Some(min) = min {
                self.and(format!("{column} >= ?"), Value::Number(min));
            }
            if let Some(max) = max {
                self.and(format!("{column} <= ?"), Value::Number(max));
            }
        }
    }
}
