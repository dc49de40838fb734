//! The meaning of an event before a stream has begun: until then, failover is possible.

use serde::Deserialize;

use crate::error::ApiError;
use crate::json;
use crate::openai;

/// The meaning of an event before the stream has begun.
#[derive(Debug)]
pub enum FirstEvent {
    /// No meaning yet, such as a ping.
    Nothing,
    Begun,
    Failed(ApiError),
}

/// An event that names its kind.
#[derive(Deserialize)]
pub(crate) struct TypedEvent {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub response: serde_json::Value,
}

/// Parses an event that must name its kind. The error is the failure of the stream.
pub(crate) fn read_typed(provider: &str, data: &[u8]) -> Result<TypedEvent, FirstEvent> {
    json::from_bytes(data).map_err(|_| {
        FirstEvent::Failed(
            openai::error::from_event(provider, data)
                .unwrap_or_else(|| ApiError::unreadable_answer(provider)),
        )
    })
}
