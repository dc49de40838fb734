//! Traces on their way into a store, and out of it.

use opentracy_proto::v1;

use crate::traces::query::Cursor;
use crate::traces::record::StoredTrace;
use crate::traces::wire;
use crate::{Attempt, Record};

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
    pub traces: Vec<StoredTrace>,
    /// The cursor of the next page; `None` on the last page.
    pub next: Option<Cursor>,
}
