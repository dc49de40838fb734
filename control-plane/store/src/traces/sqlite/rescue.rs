//! Rows of the tables, recognized by their column types.

use uuid::Uuid;

use super::page::Value;
use crate::sqlite::body;
use crate::{Attempt, AuditEntry, Feedback, Micros, Record};

/// A row of a table that can't be rebuilt from others.
#[derive(Debug)]
pub enum Row {
    Trace(Box<Record>),
    Attempt(Attempt),
    Feedback(Feedback),
    Audit(AuditEntry),
}

/// Recognizes a row's table. Returns `None` for tables that can be rebuilt, and for unknown rows.
pub fn recognize(values: Vec<Value>) -> Option<Row> {
    match values.as_slice() {
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
        [
            Value::Blob(id),
            Value::Text(source),
            Value::Integer(at),
            error,
        ] => Some(Row::Feedback(Feedback {
            trace_id: uuid(id)?,
            at: Micros(*at),
            source: source.clone(),
            error: match error {
                Value::Real(error) => *error,
                // SQLite stores whole numbers as integers to save space.
                Value::Integer(error) => *error as f64,
                _ => return None,
            },
        })),
        [
            Value::Integer(at),
            Value::Text(action),
            Value::Text(request_id),
            Value::Text(subject),
            Value::Integer(count),
            // Rows of older versions have no actor.
            actor @ ..,
        ] => Some(Row::Audit(AuditEntry {
            at: Micros(*at),
            action: action.clone(),
            actor: match actor {
                [] => String::new(),
                [Value::Text(actor)] => actor.clone(),
                _ => return None,
            },
            request_id: request_id.clone(),
            subject: subject.clone(),
            count: u64::try_from(*count).ok()?,
        })),
        _ => None,
    }
}

fn uuid(bytes: &[u8]) -> Option<Uuid> {
    Uuid::from_slice(bytes).ok()
}
