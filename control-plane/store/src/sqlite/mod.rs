//! Storage in one SQLite file: nothing to install, enough for one machine.
//!
//! A single thread does all writes. Readers have their own connections and never wait for it. The
//! tables and the statements belong to the resources.

mod engine;
mod error;
pub(super) mod inspect;
pub(super) mod names;
pub(super) mod salvage;
mod schema;
pub(super) mod shapes;
pub(crate) mod tables;

pub use engine::Sqlite;
pub use error::{is_about_records, is_damage, is_fault};
pub use schema::Schema;
pub use tables::{Table, Tables};
