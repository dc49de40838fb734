//! Feedback, and the interface of its stores.

use async_trait::async_trait;
use uuid::Uuid;

use crate::{Micros, StoreError};

/// A rating of one answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Feedback {
    pub trace_id: Uuid,
    pub at: Micros,
    /// `user`, `judge`, `evaluation`, …
    pub source: String,
    /// From 0 (good enough) to 1.
    pub error: f64,
}

/// A store of feedback on answers.
#[async_trait]
pub trait FeedbackStore: Send + Sync {
    /// Stores feedback. For each trace and source, the last entry counts.
    async fn add_feedback(&self, feedback: Vec<Feedback>) -> Result<(), StoreError>;

    /// Returns feedback since a time, newest first.
    async fn feedback(&self, since: Micros, limit: u32) -> Result<Vec<Feedback>, StoreError>;
}
