//! The path of records: from the filter to the journal, and from the journal to the store.
//!
//! Records are acknowledged once the [`journal`] has them on disk. [`Drain`] then moves them to the
//! store, at the store's own pace. Each [`Observer`] sees them at both places; [`live`] is one.

pub mod bounds;
mod dead_letters;
mod drain;
mod intake;
pub mod journal;
pub mod live;
mod observer;
mod store_state;

pub use dead_letters::DeadLetters;
pub use drain::Drain;
pub use intake::Ingest;
pub use observer::{Observer, Observers};
pub use store_state::{StoreFigures, StoreState};
