//! The data that stores hold for a call.

use opentracy_trace::{Attempt, Micros, Record};
use uuid::Uuid;

/// A call with all of its attempts.
#[derive(Debug, Clone)]
pub struct StoredTrace {
    pub record: Record,
    /// Sorted by number.
    pub attempts: Vec<Attempt>,
}

impl From<StoredTrace> for opentracy_trace::json::Trace {
    fn from(trace: StoredTrace) -> Self {
        let StoredTrace { record, attempts } = trace;
        Self {
            attempts: attempts.into_iter().map(Into::into).collect(),
            ..record.into()
        }
    }
}

/// An almost unique sort key: microseconds in the upper 53 bits, bits of the id below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SortKey(pub i64);

impl SortKey {
    const ID_BITS: u32 = 10;

    /// Returns the sort key of a call: by time, then by id.
    pub fn of_record(record: &Record) -> Self {
        Self::of(record.started_at, record.id)
    }

    pub fn of(started_at: Micros, id: Uuid) -> Self {
        let [_, _, _, _, _, _, high, low, ..] = id.into_bytes();
        let of_id = u16::from_be_bytes([high, low]) & ((1 << Self::ID_BITS) - 1);
        Self(Self::first_at(started_at).0 | i64::from(of_id))
    }

    /// Returns the lowest place of a call at this time.
    pub fn first_at(time: Micros) -> Self {
        Self(time.0.clamp(0, i64::MAX >> Self::ID_BITS) << Self::ID_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_the_order_of_time() {
        let id = |text: &str| Uuid::parse_str(text).unwrap();
        let (low, high) = (
            id("019a0000-0000-7001-8000-000000000000"),
            id("019a0000-0000-73ff-8000-000000000000"),
        );
        let place = |micros, id| SortKey::of(Micros(micros), id);
        assert!(place(7, low) < place(7, high));
        assert!(place(7, high) < place(8, low));
        assert!(SortKey::first_at(Micros(8)) <= place(8, low));
        assert!(place(i64::MAX, high).0 > 0);
    }
}
