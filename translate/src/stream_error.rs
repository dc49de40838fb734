//! The reasons why a provider's stream can't be read.

use crate::error::ApiError;

/// The reason why bytes can't be read as events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    #[error("an event is longer than {} MiB", MAX_EVENT >> 20)]
    TooLong,
    #[error("a message's checksum is wrong")]
    Checksum,
    #[error("a message is malformed")]
    Malformed,
    #[error("an event is not JSON")]
    NotJson,
    #[error("an event does not have the shape of its kind")]
    Shape,
}

/// Maximum size of an event: no provider sends longer ones, and longer ones are not buffered.
pub const MAX_EVENT: usize = 16 << 20;

/// The subject of errors in a stream of the client's API, whose chunks don't name their provider.
pub(crate) const PROVIDER: &str = "The provider";

impl StreamError {
    /// Returns the error for the client. `provider` is named in it.
    pub(crate) fn to_api_error(self, provider: &str) -> ApiError {
        ApiError::new(502, format!("{provider}'s stream can't be read: {self}"))
            .with_code("invalid_upstream_response")
    }
}
