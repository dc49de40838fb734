//! Traces in ClickHouse.
//!
//! A record is a row of `calls`, which is searched, and a row of `bodies`, which holds all of it.
//! Before an insert, records whose ids are already stored are dropped from the batch, so that
//! writes from one control plane are idempotent. Two control planes that write the same record at
//! the same moment can both store it; ClickHouse later merges the rows, and a page shows only one
//! of them.

mod figures;
mod filter;
mod read;
mod row;
mod sql;
mod stats;
mod store;
mod tables;
mod write;

pub use figures::ALL_FIGURES;
pub use tables::{ATTEMPTS, BODIES, CALLS, TABLES};
