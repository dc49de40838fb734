//! Writes records to the tables.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use uuid::Uuid;

use crate::sqlite::names::Names;
use crate::traces::sqlite::body::Packer;
use crate::traces::sqlite::row;
use crate::{Attempt, Record, SortKey, StoreError};

/// A record that is ready to write. Slow work is done in advance, off the writer thread.
#[derive(Debug)]
pub struct Prepared {
    pub record: Record,
    pub words: String,
    pub body: Vec<u8>,
}

/// Writes a batch as one transaction, which is on disk on return. Returns the records that are new.
pub fn batch(
    connection: &mut Connection,
    names: &mut Names,
    mut records: Vec<Prepared>,
    attempts: &[Attempt],
) -> Result<Vec<Record>, rusqlite::Error> {
    // The full-text index needs rows in order; out of order, it writes a segment for each.
    records.sort_by_key(|prepared| SortKey::of_record(&prepared.record));
    let transaction = connection.transaction()?;
    let mut new = Vec::with_capacity(records.len());
    let mut last = i64::MIN;
    for prepared in records {
        if let Some(place) = insert_body(&transaction, &prepared, last)? {
            insert(&transaction, names, place, &prepared)?;
            last = place;
            new.push(prepared.record);
        }
    }
    for attempt in attempts {
        insert_attempt(&transaction, attempt)?;
    }
    transaction.commit()?;
    Ok(new)
}

/// Replaces stored records by those with the same ids.
pub fn replace(connection: &mut Connection, records: &[Record]) -> Result<(), StoreError> {
    let mut packer = Packer::new()?;
    let transaction = connection.transaction()?;
    for record in records {
        let place: Option<i64> = transaction
            .prepare_cached("UPDATE bodies SET record = ? WHERE id = ? RETURNING place")?
            .query_row(params![packer.pack(record)?, record.id.as_bytes()], |row| {
                row.get(0)
            })
            .optional()?;
        if let Some(place) = place {
            transaction
                .prepare_cached("UPDATE traces SET cost = ? WHERE place = ?")?
                .execute(params![record.cost.map(|cost| cost.total.0), place])?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Inserts the body and returns its place; `None` if the id is already stored. On a collision,
/// tries the next place.
fn insert_body(
    transaction: &Transaction<'_>,
    prepared: &Prepared,
    last: i64,
) -> Result<Option<i64>, rusqlite::Error> {
    let record = &prepared.record;
    let mut place = SortKey::of_record(record).0;
    if place <= last && has_id(transaction, record.id)? {
        return Ok(None);
    }
    place = place.max(last.saturating_add(1));
    loop {
        let inserted = transaction
            .prepare_cached(
                "INSERT OR IGNORE INTO bodies (place, id, session_id, user, record) VALUES (?, ?, ?, ?, ?)",
            )?
            .execute(params![
                place,
                record.id.as_bytes(),
                record.session_id,
                record.user,
                prepared.body,
            ])?;
        if inserted == 1 {
            return Ok(Some(place));
        }
        if has_id(transaction, record.id)? {
            return Ok(None);
        }
        place += 1;
    }
}

fn has_id(transaction: &Transaction<'_>, id: Uuid) -> Result<bool, rusqlite::Error> {
    transaction
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM bodies WHERE id = ?)")?
        .query_row([id.as_bytes()], |row| row.get(0))
}

fn insert(
    transaction: &Transaction<'_>,
    names: &mut Names,
    place: i64,
    prepared: &Prepared,
) -> Result<(), rusqlite::Error> {
    let record = &prepared.record;
    row::insert(transaction, names, place, record)?;
    for (name, value) in &record.metadata {
        transaction
            .prepare_cached("INSERT INTO labels (name, value, place) VALUES (?, ?, ?)")?
            .execute(params![name, value, place])?;
    }
    if !prepared.words.is_empty() {
        transaction
            .prepare_cached("INSERT INTO words (rowid, word) VALUES (?, ?)")?
            .execute(params![place, prepared.words])?;
    }
    Ok(())
}

fn insert_attempt(transaction: &Transaction<'_>, attempt: &Attempt) -> Result<(), rusqlite::Error> {
    transaction
        .prepare_cached(
            "INSERT OR IGNORE INTO attempts
                (trace_id, number, started_at, provider, model, status, error, latency)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            attempt.trace_id.as_bytes(),
            attempt.number,
            attempt.started_at.0,
            attempt.provider,
            attempt.model,
            attempt.status,
            attempt.error,
            attempt.latency.0,
        ])?;
    Ok(())
}
