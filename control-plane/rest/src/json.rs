//! Request bodies that must be JSON objects.

use axum::extract::{FromRequest, Request};
use opentracy_translate::error::ApiError;
use serde::de::DeserializeOwned;

use crate::error::Error;

/// Maximum size of a body, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// A parsed body. A body that can't be parsed is a 400 that names the place.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self, Error> {
        let bytes = axum::body::to_bytes(request.into_body(), MAX_BYTES).await;
        let bytes = bytes.map_err(|_| {
            ApiError::new(413, format!("The body must have at most {MAX_BYTES} bytes"))
        })?;
        Ok(Self(parse(&bytes)?))
    }
}

/// Parses an object.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let invalid = |words: String| ApiError::new(400, words).with_code("invalid_json");
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(invalid("The body must be a JSON object".to_owned()));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut reader);
    read.map_err(|error| invalid(describe(&error)))
}

/// Describes a parse error, with its place.
pub fn describe(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    match error.path().to_string().as_str() {
        "." => format!("The body can't be read: {}", error.inner()),
        path => format!("`{path}` can't be read: {}", error.inner()),
    }
}
