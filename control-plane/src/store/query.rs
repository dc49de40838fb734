//! What can be asked of a store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::store::Trace;

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 500;

/// Filters; those that are given must all hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query {
    pub provider: Option<String>,
    /// A model's name, with or without its provider.
    pub model: Option<String>,
    pub alias: Option<String>,
    pub session: Option<String>,
    pub status: Option<u32>,
    /// Microseconds since the epoch, inclusive.
    pub since: Option<i64>,
    /// Microseconds since the epoch, exclusive.
    pub until: Option<i64>,
    /// USD.
    pub min_cost: Option<f64>,
    /// USD.
    pub max_cost: Option<f64>,
    pub metadata: BTreeMap<String, String>,
    /// Words that must all be in the conversation.
    pub text: Option<String>,
    pub order: Order,
    pub limit: u32,
    /// The last id of the page before.
    pub after: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    #[default]
    NewestFirst,
    OldestFirst,
}

/// A page of traces.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Page {
    pub data: Vec<Trace>,
    /// Give it as `cursor` for the next page; `null` on the last.
    pub next_cursor: Option<String>,
}

/// The query string of `GET /v1/traces`, beside its `metadata.NAME` filters.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Params {
    /// A provider's name.
    provider: Option<String>,
    /// A model's name, with or without its provider.
    model: Option<String>,
    /// An alias's name.
    alias: Option<String>,
    /// A session's id.
    session: Option<String>,
    /// The HTTP status the client got.
    status: Option<u32>,
    /// RFC 3339; calls that began then or later.
    since: Option<String>,
    /// RFC 3339; calls that began before.
    until: Option<String>,
    /// USD; calls that cost as much or more.
    min_cost: Option<f64>,
    /// USD; calls that cost as much or less.
    max_cost: Option<f64>,
    /// Words that must all be in the conversation.
    q: Option<String>,
    #[param(inline)]
    order: Order,
    /// How many traces to a page: 1 to 500, 50 without it.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What is wrong with a query string.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    pub param: String,
    pub message: String,
}

impl Query {
    /// Reads the query string of `GET /v1/traces`.
    pub fn from_pairs(pairs: Vec<(String, String)>) -> Result<Self, QueryError> {
        let mut metadata = BTreeMap::new();
        let mut rest = serde_json::Map::new();
        for (name, value) in pairs {
            if let Some(label) = name.strip_prefix("metadata.") {
                metadata.insert(label.to_owned(), value);
                continue;
            }
            let value = match name.as_str() {
                "status" | "limit" | "min_cost" | "max_cost" => value
                    .parse::<serde_json::Number>()
                    .map(Into::into)
                    .map_err(|_| QueryError {
                        message: format!("`{name}` must be a number"),
                        param: name.clone(),
                    })?,
                _ => value.into(),
            };
            rest.insert(name, value);
        }
        let params: Params = serde_json::from_value(rest.into()).map_err(|error| QueryError {
            param: String::new(),
            message: error.to_string(),
        })?;
        let limit = params.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(QueryError {
                param: "limit".to_owned(),
                message: format!("`limit` must be from 1 to {MAX_LIMIT}"),
            });
        }
        if let Some(cursor) = &params.cursor
            && uuid::Uuid::try_parse(cursor).is_err()
        {
            return Err(QueryError {
                param: "cursor".to_owned(),
                message: "`cursor` must be the `next_cursor` of the page before".to_owned(),
            });
        }
        Ok(Self {
            since: moment("since", params.since.as_deref())?,
            until: moment("until", params.until.as_deref())?,
            provider: params.provider,
            model: params.model,
            alias: params.alias,
            session: params.session,
            status: params.status,
            min_cost: params.min_cost,
            max_cost: params.max_cost,
            metadata,
            text: params.q.filter(|text| !text.trim().is_empty()),
            order: params.order,
            limit,
            after: params.cursor,
        })
    }
}

fn moment(param: &str, text: Option<&str>) -> Result<Option<i64>, QueryError> {
    text.map(|text| {
        text.parse::<jiff::Timestamp>()
            .map(|time| time.as_microsecond())
            .map_err(|_| QueryError {
                param: param.to_owned(),
                message: format!("`{param}` must be a time such as 2026-11-21T08:00:00Z"),
            })
    })
    .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Result<Query, QueryError> {
        Query::from_pairs(
            pairs
                .iter()
                .map(|&(a, b)| (a.to_owned(), b.to_owned()))
                .collect(),
        )
    }

    #[test]
    fn filters_are_read() {
        let query = query(&[
            ("model", "openai/gpt-4o"),
            ("metadata.team", "search"),
            ("since", "1970-01-01T00:00:01Z"),
            ("min_cost", "0.5"),
            ("order", "oldest_first"),
        ])
        .unwrap();
        assert_eq!(query.since, Some(1_000_000));
        assert_eq!(query.metadata["team"], "search");
        assert_eq!((query.limit, query.order), (50, Order::OldestFirst));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (pair, words) in [
            (("limit", "0"), "1 to 500"),
            (("limit", "x"), "number"),
            (("since", "yesterday"), "such as"),
            (("modle", "x"), "unknown field `modle`"),
            (("order", "x"), "newest_first"),
            (("cursor", "x"), "next_cursor"),
        ] {
            let message = query(&[pair]).unwrap_err().message;
            assert!(message.contains(words), "{message}");
        }
    }
}
