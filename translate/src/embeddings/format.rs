//! The contract of embeddings in a wire format.

use std::borrow::Cow;
use std::fmt;

use crate::embeddings::answer::EmbeddingsAnswer;
use crate::embeddings::request::Request;
use crate::error::ApiError;
use crate::openai::dialect::Dialect;

/// The translation of embeddings into a wire format and back.
pub trait EmbeddingsFormat: fmt::Debug + Sync {
    /// Returns the path after the base URL, and the body.
    fn translate_request(
        &self,
        request: &Request<'_>,
        model: &str,
        dialect: &Dialect,
    ) -> Result<(Cow<'static, str>, Vec<u8>), ApiError>;

    /// Parses an answer; `None` if it already is what the client asked for.
    fn translate_response(
        &self,
        body: &[u8],
        request: &Request<'_>,
        dialect: &Dialect,
    ) -> Result<Option<EmbeddingsAnswer>, ApiError>;
}
