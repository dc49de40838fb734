//! One call of a client: the definition that all of its forms derive from.
//!
//! [`fields`] names every field once, with its type and name in each form: [`Record`] is the JSON
//! that stores hold, [`json::Trace`] the JSON of REST, exports and imports, and `v1::Trace` the
//! gRPC message. [`wire`] converts between the forms. [`columns`] lists the columns that stores
//! search, that the Parquet export has, and that spans carry.
//!
//! Nothing here has I/O, a clock or randomness, so the crate also compiles for wasm.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

mod amounts;
mod attempt;
pub mod columns;
pub mod fields;
pub mod json;
mod json_parts;
mod parts;
pub mod user_agent;
pub mod wire;

pub use amounts::{Micros, PicoUsd};
pub use attempt::Attempt;
pub use fields::Record;
pub use parts::{Cost, Decision, Outcome, Tokens, TraceError};
pub use user_agent::UserAgent;
