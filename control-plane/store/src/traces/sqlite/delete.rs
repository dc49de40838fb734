//! Permanently deletes traces.

use rusqlite::{Connection, params, params_from_iter};

use crate::sqlite::body;
use crate::sqlite::filter::Selection;
use crate::{Filter, Micros, StoreError};

/// Traces deleted in one transaction; other writes run in between.
const AT_ONCE: usize = 1000;

/// Deletes the traces that match a filter and returns their number.
pub fn matching(connection: &mut Connection, filter: &Filter) -> Result<u64, StoreError> {
    let mut removed = 0;
    loop {
        let transaction = connection.transaction()?;
        let selection = Selection::new(&transaction, filter)?;
        let sql = format!(
            "SELECT {} {} LIMIT {AT_ONCE}",
            selection.place,
            selection.sql()
        );
        let places: Vec<i64> = transaction
            .prepare(&sql)?
            .query_map(params_from_iter(selection.values), |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for place in &places {
            remove(&transaction, *place)?;
        }
        transaction.commit()?;
        removed += places.len() as u64;
        if places.len() < AT_ONCE {
            return Ok(removed);
        }
    }
}

/// Deletes attempts whose trace never arrived.
pub fn strays(connection: &Connection, before: Micros) -> Result<(), StoreError> {
    connection.execute(
        "DELETE FROM attempts WHERE started_at < ? AND NOT EXISTS (SELECT 1 FROM bodies WHERE id = trace_id)",
        [before.0],
    )?;
    Ok(())
}

fn remove(connection: &Connection, place: i64) -> Result<(), StoreError> {
    let body: Vec<u8> = connection
        .prepare_cached("SELECT record FROM bodies WHERE place = ?")?
        .query_row([place], |row| row.get(0))?;
    for (name, value) in body::unpack(&body)?.metadata {
        connection
            .prepare_cached("DELETE FROM labels WHERE name = ? AND value = ? AND place = ?")?
            .execute(params![name, value, place])?;
    }
    for sql in [
        "DELETE FROM attempts WHERE trace_id = (SELECT id FROM bodies WHERE place = ?)",
        "DELETE FROM feedback WHERE trace_id = (SELECT id FROM bodies WHERE place = ?)",
        "DELETE FROM bodies WHERE place = ?",
        "DELETE FROM words WHERE rowid = ?",
        "DELETE FROM traces WHERE place = ?",
    ] {
        connection.prepare_cached(sql)?.execute([place])?;
    }
    Ok(())
}
