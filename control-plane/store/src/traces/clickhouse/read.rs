//! Reads traces from rows.

use std::collections::{HashMap, HashSet};

use clickhouse::Row;
use serde::Deserialize;
use uuid::Uuid;

use crate::clickhouse::ClickHouse;
use crate::traces::clickhouse::filter::{Conditions, Value};
use crate::traces::clickhouse::row::AttemptRow;
use crate::traces::clickhouse::sql::{list, number};
use crate::{Attempt, Cursor, Order, Page, Query, Record, SortKey, StoreError, StoredTrace};

/// Extra rows that are requested beyond a page, to make up for duplicates.
const SPARE: usize = 10;

impl ClickHouse {
    /// Returns complete traces, unordered.
    async fn read(&self, places: &[(i64, u128)]) -> Result<HashMap<u128, StoredTrace>, StoreError> {
        #[derive(Row, Deserialize)]
        struct Body {
            id: u128,
            record: String,
        }
        if places.is_empty() {
            return Ok(HashMap::new());
        }
        let ids = list(places.iter().map(|(_, id)| number(*id)));
        let wanted: HashSet<u128> = places.iter().map(|&(_, id)| id).collect();
        let places = list(places.iter().map(|(place, _)| place.to_string()));
        // Places rarely collide. For so little work, more threads only cost time.
        let bodies = format!(
            "SELECT id, record FROM {} WHERE place IN ({places}) ORDER BY version SETTINGS max_threads = 1",
            self.topology().table("bodies"),
        );
        let attempts = format!(
            "SELECT * FROM {} WHERE trace_id IN ({ids})",
            self.topology().table("attempts"),
        );
        let (bodies, mut attempts) = tokio::try_join!(
            self.client().query(&bodies).fetch_all::<Body>(),
            self.client().query(&attempts).fetch_all::<AttemptRow>(),
        )?;
        let mut traces = HashMap::new();
        for body in bodies.into_iter().filter(|body| wanted.contains(&body.id)) {
            let trace = StoredTrace {
                record: Record::from_json(body.record.as_bytes())
                    .map_err(StoreError::unreadable)?,
                attempts: Vec::new(),
            };
            traces.insert(body.id, trace);
        }
        attempts.sort_unstable_by_key(|row| (row.trace_id, row.number));
        attempts.dedup_by_key(|row| (row.trace_id, row.number));
        for row in attempts {
            if let Some(trace) = traces.get_mut(&row.trace_id) {
                trace.attempts.push(Attempt::from(row));
            }
        }
        Ok(traces)
    }

    /// Returns the sort keys of a page's traces in order: at least one more than the page holds, or
    /// all.
    async fn places(&self, query: &Query) -> Result<Vec<(i64, u128)>, StoreError> {
        #[derive(Row, Deserialize)]
        struct At {
            place: i64,
            id: u128,
        }
        let mut conditions = Conditions::new(&query.filter);
        let (direction, from) = match query.order {
            Order::NewestFirst => ("DESC", "<="),
            Order::OldestFirst => ("ASC", ">="),
        };
        if let Some(after) = query.after {
            conditions.and(format!("place {from} ?"), Value::Number(after.place.0));
        }
        let is_beyond_cursor = |&at: &(i64, u128)| {
            query.after.is_none_or(|after| match query.order {
                Order::NewestFirst => at < (after.place.0, after.id),
                Order::OldestFirst => at > (after.place.0, after.id),
            })
        };
        let limit = query.limit as usize;
        // Rows may be duplicated until ClickHouse merges them. Deduplicating in the query would
        // read the whole table, so a few extra rows are requested, and in the rare case of too few,
        // twice as many.
        let mut asked = limit + 1 + SPARE;
        loop {
            // ClickHouse sorts by place alone, and so reads the ids of the returned rows only. The
            // few rows of one place are sorted here.
            let sql = format!(
                "SELECT place, id FROM {} WHERE {} ORDER BY place {direction} LIMIT {asked}",
                self.calls(),
                conditions.sql(),
            );
            let found: Vec<At> = conditions
                .bind(self.client().query(&sql))
                .fetch_all()
                .await?;
            let is_all = found.len() < asked;
            let mut places: Vec<(i64, u128)> = found.iter().map(|at| (at.place, at.id)).collect();
            if !is_all && let Some(&(last, _)) = places.last() {
                // The limit may have cut off other rows of this place.
                places.retain(|&(place, _)| place != last);
            }
            places.sort_unstable();
            places.dedup();
            if query.order == Order::NewestFirst {
                places.reverse();
            }
            places.retain(is_beyond_cursor);
            if is_all || places.len() > limit {
                return Ok(places);
            }
            asked *= 2;
        }
    }

    pub(super) async fn page(&self, query: Query) -> Result<Page, StoreError> {
        // Places first: only the bodies of the page's traces are read.
        let mut places = self.places(&query).await?;
        let limit = query.limit as usize;
        let has_more = places.len() > limit;
        places.truncate(limit);
        let next = places
            .last()
            .filter(|_| has_more)
            .map(|&(place, id)| Cursor {
                place: SortKey(place),
                id,
            });
        let mut traces = self.read(&places).await?;
        let in_order = |(_, id): &(i64, u128)| traces.remove(id);
        Ok(Page {
            traces: places.iter().filter_map(in_order).collect(),
            next,
        })
    }

    pub(super) async fn one(&self, id: Uuid) -> Result<Option<StoredTrace>, StoreError> {
        let id = id.as_u128();
        let sql = format!(
            "SELECT place FROM {} WHERE id = {} LIMIT 1",
            self.calls(),
            number(id)
        );
        let place: Option<i64> = self.client().query(&sql).fetch_optional().await?;
        match place {
            Some(place) => Ok(self.read(&[(place, id)]).await?.remove(&id)),
            None => Ok(None),
        }
    }
}
