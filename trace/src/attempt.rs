//! One call to one provider.

use uuid::Uuid;

use crate::Micros;

/// One call to one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub trace_id: Uuid,
    /// Counts from 1.
    pub number: u32,
    pub started_at: Micros,
    pub provider: String,
    pub model: String,
    /// `None` if the provider sent no status.
    pub status: Option<u16>,
    /// A one-word reason for the failure.
    pub error: Option<String>,
    pub latency: Micros,
}
