//! Traces and attempts among the rows of a damaged file.
//!
//! The row of `bodies` holds a complete trace; the other tables are built from it. Attempts are
//! recognized here too, so that an export of a damaged file has them.

use rusqlite::types::Value;
use uuid::Uuid;

use crate::traces::sqlite::body;
use crate::{Attempt, Micros, Record};

/// A row of `bodies` or `attempts`.
#[derive(Debug)]
pub enum Row {
    Trace(Box<Record>),
    Attempt(Attempt),
}

/// Recognizes a row by the types of its values. Returns `None` for rows of other tables.
pub fn recognize(values: &[Value]) -> Option<Row> {
    match values {
        [
            Value::Null,
            Value::Blob(id),
            Value::Null | Value::Text(_),
            Value::Null | Value::Text(_),
            Value::Blob(packed),
        ] => {
            let record = body::unpack(packed).ok()?;
            (record.id == uuid(id)?).then(|| Row::Trace(Box::new(record)))
        }
        [
            Value::Blob(id),
            Value::Integer(number),
            Value::Integer(started_at),
            Value::Text(provider),
            Value::Text(model),
            status @ (Value::Null | Value::Integer(_)),
            error @ (Value::Null | Value::Text(_)),
            Value::Integer(latency),
        ] => Some(Row::Attempt(Attempt {
            trace_id: uuid(id)?,
            number: u32::try_from(*number).ok()?,
            started_at: Micros(*started_at),
            provider: provider.clone(),
            model: model.clone(),
            status: match status {
                Value::Integer(status) => Some(u16::try_from(*status).ok()?),
                _ => None,
            },
            error: match error {
                Value::Text(error) => Some(error.clone()),
                _ => None,
            },
            latency: Micros(*latency),
        })),
        _ => None,
    }
}

fn uuid(bytes: &[u8]) -> Option<Uuid> {
    Uuid::from_slice(bytes).ok()
}
