//! Where traces live.

mod content;
mod query;
mod sqlite;
mod trace;

use async_trait::async_trait;
use opentracy_proto::v1;

pub use query::{Order, Page, Params, Query, QueryError};
pub use sqlite::Sqlite;
pub use trace::{Attempt, Cost, Outcome, Tokens, Trace, TraceError};

/// What went wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the trace store failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the trace store's writer has stopped; restart the control plane")]
    Stopped,
}

/// A store of traces.
#[async_trait]
pub trait Store: Send + Sync {
    /// Keeps a batch. When this returns, the batch is on disk. A record that is there already is left as it is.
    async fn ingest(&self, batch: v1::IngestRequest) -> Result<(), StoreError>;

    /// The traces that a query is after, a page at a time.
    async fn list(&self, query: Query) -> Result<Page, StoreError>;

    /// One trace with all its attempts.
    async fn get(&self, id: String) -> Result<Option<Trace>, StoreError>;
}
