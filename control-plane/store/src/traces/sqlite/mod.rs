//! Traces in SQLite.

mod body;
mod delete;
mod filter;
pub mod read;
pub mod rescue;
mod row;
mod stats;
mod store;
mod tables;
mod write;

pub use tables::TABLES;
