//! Permanently deletes traces.

use rusqlite::{Connection, params, params_from_iter};

use crate::sqlite::Schema;
use crate::traces::sqlite::body;
use crate::traces::sqlite::filter::Selection;
use crate::{Filter, Micros, StoreError};

/// Traces deleted in one transaction; other writes run in between.
const AT_ONCE: usize = 1000;
/// The statements that delete a trace's own rows, after those that belong to it.
const OWN: [&str; 3] = [
    "DELETE FROM bodies WHERE place = ?",
    "DELETE FROM words WHERE rowid = ?",
    "DELETE FROM traces WHERE place = ?",
];

/// Deletes the traces that match a filter, with the rows of all tables that belong to them, and
/// returns their number.
pub fn matching(
    connection: &mut Connection,
    schema: &Schema,
    filter: &Filter,
) -> Result<u64, StoreError> {
    let of_traces = schema.tables();
    let of_traces = of_traces.filter_map(|table| Some((table.name, table.trace_id?)));
    let mut statements: Vec<String> = of_traces
        .map(|(table, id)| {
            format!("DELETE FROM {table} WHERE {id} = (SELECT id FROM bodies WHERE place = ?)")
        })
        .collect();
    statements.extend(OWN.map(str::to_owned));
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
            remove(&transaction, &statements, *place)?;
        }
        transaction.commit()?;
        removed += places.len() as u64;
        if places.len() < AT_ONCE {
            return Ok(removed);
        }
    }
}

/// Deletes the rows that expire by a time of their own. Rows that belong to a trace expire with it,
/// and by their own time only if it never arrived.
pub fn expired(connection: &Connection, schema: &Schema, before: Micros) -> Result<(), StoreError> {
    for table in schema.tables() {
        let Some(time) = table.ages_by else {
            continue;
        };
        let has_no_trace = table.trace_id.map_or_else(String::new, |id| {
            format!(" AND NOT EXISTS (SELECT 1 FROM bodies WHERE id = {id})")
        });
        let sql = format!("DELETE FROM {} WHERE {time} < ?{has_no_trace}", table.name);
        connection.execute(&sql, [before.0])?;
    }
    Ok(())
}

/// Deletes a trace by statements that each take its place.
fn remove(connection: &Connection, statements: &[String], place: i64) -> Result<(), StoreError> {
    let body: Vec<u8> = connection
        .prepare_cached("SELECT record FROM bodies WHERE place = ?")?
        .query_row([place], |row| row.get(0))?;
    for (name, value) in body::unpack(&body)?.metadata {
        connection
            .prepare_cached("DELETE FROM labels WHERE name = ? AND value = ? AND place = ?")?
            .execute(params![name, value, place])?;
    }
    for sql in statements {
        connection.prepare_cached(sql)?.execute([place])?;
    }
    Ok(())
}
