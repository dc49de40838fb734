//! Queries that a store answers.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use opentracy_trace::columns::Dimension;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::traces::record::SortKey;
use crate::{Micros, PicoUsd};

/// Conditions on traces; all that are set must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Columns with the same name in both stores, and the text that each must have.
    pub columns: BTreeMap<&'static str, String>,
    /// A model's name, with or without its provider.
    pub model: Option<String>,
    pub cluster: Option<u32>,
    pub session: Option<String>,
    pub user: Option<String>,
    pub status: Option<RangeInclusive<u16>>,
    /// Inclusive.
    pub since: Option<Micros>,
    /// Exclusive.
    pub until: Option<Micros>,
    pub cost: Bounds<PicoUsd>,
    pub latency: Bounds<Micros>,
    /// Sum of input and output tokens.
    pub tokens: Bounds<u64>,
    /// `None` matches any value of the name.
    pub metadata: BTreeMap<String, Option<String>>,
    /// Words that the conversation must all contain, from
    /// [`words::of_search`](super::words::of_search).
    pub words: Vec<String>,
}

/// Inclusive bounds. A trace that lacks the value matches no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds<T> {
    pub min: Option<T>,
    pub max: Option<T>,
}

impl<T> Default for Bounds<T> {
    fn default() -> Self {
        Self {
            min: None,
            max: None,
        }
    }
}

/// A request for one page of traces.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub filter: Filter,
    pub order: Order,
    pub limit: u32,
    /// The cursor that the previous page returned.
    pub after: Option<Cursor>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    #[default]
    NewestFirst,
    OldestFirst,
}

/// The position of a trace in its store. Traces that are added later don't shift it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub place: SortKey,
    pub id: u128,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:032x}", self.place.0, self.id)
    }
}

/// The error for a text that is not a cursor.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be the `next_cursor` of the previous page")]
pub struct NoCursor;

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let (place, id) = text.split_once('-').ok_or(NoCursor)?;
        Ok(Self {
            place: SortKey(i64::from_str_radix(place, 16).map_err(|_| NoCursor)?),
            id: u128::from_str_radix(id, 16).map_err(|_| NoCursor)?,
        })
    }
}

/// A request for statistics of the traces that match a filter.
#[derive(Debug, Clone, PartialEq)]
pub struct StatsQuery {
    pub filter: Filter,
    pub group_by: Option<Dimension>,
    /// Length of the time buckets, counted from the epoch.
    pub interval: Option<Micros>,
}

impl StatsQuery {
    /// Returns the query for what each group has cost since a time.
    pub fn spending(since: Micros, by: Dimension) -> Self {
        Self {
            filter: Filter {
                since: Some(since),
                ..Filter::default()
            },
            group_by: Some(by),
            interval: None,
        }
    }
}

/// Statistics of one group in one interval.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    pub group: Option<String>,
    pub start: Option<Micros>,
    pub requests: u64,
    /// Requests whose client got an error.
    pub errors: u64,
    pub tokens_input: u64,
    pub tokens_output: u64,
    pub cost: PicoUsd,
    /// Requests without a known price.
    pub unpriced: u64,
    pub latency: Option<Quantiles>,
    /// Covers only requests that had a first token.
    pub time_to_first_token: Option<Quantiles>,
}

/// Percentiles: of `n` sorted values, the one at index ⌊q·n⌋.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantiles {
    pub p50: Micros,
    pub p95: Micros,
    pub p99: Micros,
}

impl Quantiles {
    pub const LEVELS: [f64; 3] = [0.5, 0.95, 0.99];

    /// Computes percentiles of microseconds and reorders `values`. Returns `None` if it is empty.
    pub fn of<T: Copy + Ord + Into<u64>>(values: &mut [T]) -> Option<Self> {
        let mut at = |level: f64| {
            let index = (level * values.len() as f64) as usize;
            let index = index.min(values.len().checked_sub(1)?);
            let (_, value, _) = values.select_nth_unstable(index);
            Some(Micros::from((*value).into()))
        };
        let [p50, p95, p99] = Self::LEVELS.map(&mut at);
        Some(Self {
            p50: p50?,
            p95: p95?,
            p99: p99?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text() {
        let cursor = Cursor {
            place: SortKey(1 << 60),
            id: u128::MAX - 1,
        };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in ["", "x", "1-", "-1", "g-1"] {
            assert_eq!(text.parse::<Cursor>(), Err(NoCursor), "{text}");
        }
    }

    #[test]
    fn quantiles_are_values_that_were_there() {
        assert_eq!(Quantiles::of::<u32>(&mut []), None);
        let of = |values: &mut [u32]| Quantiles::of(values).map(|q| [q.p50.0, q.p95.0, q.p99.0]);
        assert_eq!(of(&mut [7]), Some([7, 7, 7]));
        assert_eq!(of(&mut [4, 1, 3, 2]), Some([3, 4, 4]));
        let mut hundred: Vec<u32> = (0..100).rev().collect();
        assert_eq!(of(&mut hundred), Some([50, 95, 99]));
    }
}
