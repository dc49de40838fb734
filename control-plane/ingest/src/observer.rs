//! Observers of records.

use std::sync::Arc;

use opentracy_proto::v1;
use opentracy_store::Record;

/// Receives notifications about records.
pub trait Observer: Send + Sync {
    /// Called when calls were made.
    fn on_taken(&self, _request: &v1::IngestRequest) {}

    /// Called with the records that are new in the store, once for each.
    fn on_stored(&self, _records: &[Record]) {}
}

pub type Observers = Arc<[Arc<dyn Observer>]>;
