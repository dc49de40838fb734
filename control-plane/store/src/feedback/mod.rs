//! Feedback on answers.

pub(super) mod clickhouse;
mod sqlite;
mod types;

use crate::resource::Resource;

pub use types::{Feedback, FeedbackStore};

pub(super) const RESOURCE: Resource = Resource {
    name: "feedback",
    sqlite: sqlite::TABLES,
    clickhouse: clickhouse::TABLES,
};
