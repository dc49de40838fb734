//! The body of a client's request.

use crate::error::ApiError;
use crate::json::{describe_error, from_bytes};

/// Parses a client's body.
pub fn parse<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    from_bytes(body)
        .map_err(|error| ApiError::new(400, describe_error(&error)).with_code("invalid_json"))
}
