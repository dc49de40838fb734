//! What can be asked of a store.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::Deserialize;
use utoipa::ToSchema;

use crate::store::{Micros, PicoUsd, Place};

/// Which traces; all that is set must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    pub provider: Option<String>,
    /// A model's name, with or without its provider.
    pub model: Option<String>,
    pub alias: Option<String>,
    pub key: Option<String>,
    pub cluster: Option<u32>,
    pub session: Option<String>,
    pub user: Option<String>,
    pub status: Option<RangeInclusive<u16>>,
    pub error_type: Option<String>,
    /// Inclusive.
    pub since: Option<Micros>,
    /// Exclusive.
    pub until: Option<Micros>,
    pub cost: Bounds<PicoUsd>,
    pub latency: Bounds<Micros>,
    /// Input and output together.
    pub tokens: Bounds<u64>,
    /// `None` is a name with any value.
    pub metadata: BTreeMap<String, Option<String>>,
    /// Words that must all be in the conversation, as [`words::of_search`](super::words::of_search) gives them.
    pub words: Vec<String>,
}

/// Both are inclusive. A trace without the value is outside of every bound.
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

/// A page of traces.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub filter: Filter,
    pub order: Order,
    pub limit: u32,
    /// Where the page before ended.
    pub after: Option<Cursor>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    #[default]
    NewestFirst,
    OldestFirst,
}

/// A trace's place in its store. What is added later stands before or behind it, and moves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub place: Place,
    pub id: u128,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:032x}", self.place.0, self.id)
    }
}

/// It is no cursor of ours.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be the `next_cursor` of the page before")]
pub struct NoCursor;

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let (place, id) = text.split_once('-').ok_or(NoCursor)?;
        Ok(Self {
            place: Place(i64::from_str_radix(place, 16).map_err(|_| NoCursor)?),
            id: u128::from_str_radix(id, 16).map_err(|_| NoCursor)?,
        })
    }
}

/// Figures of the traces that a filter lets through.
#[derive(Debug, Clone, PartialEq)]
pub struct StatsQuery {
    pub filter: Filter,
    pub group_by: Option<Dimension>,
    /// Cuts time in pieces of this length, counted from the epoch.
    pub interval: Option<Micros>,
}

/// What figures are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// `provider/model`.
    Model,
    Provider,
    Alias,
    Cluster,
    Key,
}

/// The figures of one group in one piece of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    pub group: Option<String>,
    pub start: Option<Micros>,
    pub requests: u64,
    /// Those of them whose client got an error.
    pub errors: u64,
    pub tokens_input: u64,
    pub tokens_output: u64,
    pub cost: PicoUsd,
    /// Those whose price is not known.
    pub unpriced: u64,
    pub latency: Option<Quantiles>,
    /// Of those that had a first token.
    pub time_to_first_token: Option<Quantiles>,
}

/// Of `n` sorted values each is the one at index ⌊q·n⌋.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantiles {
    pub p50: Micros,
    pub p95: Micros,
    pub p99: Micros,
}

impl Quantiles {
    pub const LEVELS: [f64; 3] = [0.5, 0.95, 0.99];

    /// Of microseconds, which are put in another order. `None` where there are none.
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

/// What somebody did to the traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    pub at: Micros,
    pub action: String,
    /// Whose request asked for it: a key's name; empty where none was needed.
    pub actor: String,
    /// The request that asked for it.
    pub request_id: String,
    /// What it was done to, for people.
    pub subject: String,
    /// Traces that it was done to.
    pub count: u64,
}

/// Who does something, and by which request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct By {
    pub actor: String,
    pub request_id: String,
}

impl AuditEntry {
    /// What is done now.
    pub fn new(action: impl Into<String>, by: By, subject: impl Into<String>, count: u64) -> Self {
        Self {
            at: Micros::now(),
            action: action.into(),
            actor: by.actor,
            request_id: by.request_id,
            subject: subject.into(),
            count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text() {
        let cursor = Cursor {
            place: Place(1 << 60),
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
