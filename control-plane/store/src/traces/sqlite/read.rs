//! Reads traces from the tables.

use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};
use uuid::Uuid;

use crate::traces::sqlite::body;
use crate::traces::sqlite::filter::Selection;
use crate::{Attempt, Cursor, Micros, Order, Page, Query, SortKey, StoreError, StoredTrace};

pub fn get(connection: &Connection, id: Uuid) -> Result<Option<StoredTrace>, StoreError> {
    let body: Option<Vec<u8>> = connection
        .prepare_cached("SELECT record FROM bodies WHERE id = ?")?
        .query_row([id.as_bytes()], |row| row.get(0))
        .optional()?;
    body.map(|body| trace(connection, &body)).transpose()
}

pub fn list(connection: &Connection, query: &Query) -> Result<Page, StoreError> {
    let mut selection = Selection::new(connection, &query.filter)?;
    let (direction, beyond) = match query.order {
        Order::NewestFirst => ("DESC", "<"),
        Order::OldestFirst => ("ASC", ">"),
    };
    if let Some(after) = query.after {
        selection.place_bound(beyond, after.place);
    }
    let limit = query.limit as usize;
    // Places first: only the page's rows are read in full.
    let sql = format!(
        "SELECT {0} {1} ORDER BY {0} {direction} LIMIT {2}",
        selection.place,
        selection.sql(),
        limit + 1,
    );
    let places: Vec<i64> = connection
        .prepare_cached(&sql)?
        .query_map(params_from_iter(selection.values), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut statement = connection.prepare_cached("SELECT record FROM bodies WHERE place = ?")?;
    let mut traces = Vec::with_capacity(places.len());
    for place in places.iter().take(limit) {
        let body: Option<Vec<u8>> = statement.query_row([place], |row| row.get(0)).optional()?;
        if let Some(body) = body {
            traces.push(trace(connection, &body)?);
        }
    }
    let next = places
        .get(limit.wrapping_sub(1))
        .filter(|_| places.len() > limit)
        .map(|&place| Cursor {
            place: SortKey(place),
            id: 0,
        });
    Ok(Page { traces, next })
}

fn trace(connection: &Connection, body: &[u8]) -> Result<StoredTrace, StoreError> {
    let record = body::unpack(body)?;
    let attempts = connection
        .prepare_cached(
            "SELECT number, started_at, provider, model, status, error, latency FROM attempts
                WHERE trace_id = ? ORDER BY number",
        )?
        .query_map(params![record.id.as_bytes()], |row| {
            Ok(Attempt {
                trace_id: record.id,
                number: row.get(0)?,
                started_at: Micros(row.get(1)?),
                provider: row.get(2)?,
                model: row.get(3)?,
                status: row.get(4)?,
                error: row.get(5)?,
                latency: Micros(row.get(6)?),
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(StoredTrace { record, attempts })
}
