//! Storage in ClickHouse, for loads beyond one machine.
//!
//! The tables and the statements belong to the resources.

mod engine;
mod error;
mod inspect;
mod migrations;
mod schema;
mod table;
pub(super) mod tables;
mod topology;

pub use engine::ClickHouse;
pub use error::is_about_records;
pub use schema::{Migration, Schema};
pub use table::Table;
pub use tables::Tables;
pub use topology::Topology;
