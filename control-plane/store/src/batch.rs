//! Traces on their way to a store, and a page of them on the way back.

use opentracy_proto::v1;

use crate::{Attempt, Cursor, Record, Trace, wire};

/// Records and attempts to store.
#[derive(Debug, Default)]
pub struct Batch {
    pub records: Vec<(Record, Words)>,
    pub attempts: Vec<Attempt>,
}

/// The search terms of a record, separated by spaces.
pub type Words = String;

impl Batch {
    /// Adds the records and attempts of a request from the filter.
    pub fn add(&mut self, request: v1::IngestRequest) {
        self.records
            .extend(request.traces.into_iter().filter_map(wire::record));
        self.attempts.extend(
            request
                .attempts
                .into_iter()
                .filter_map(Attempt::from_message),
        );
    }
}

/// A page of traces.
#[derive(Debug, Default)]
pub struct Page {
    pub traces: Vec<Trace>,
    /// The cursor of the next page; `None` on the last page.
    pub next: Option<Cursor>,
}
