//! OpenAI's own embeddings, and those of its relatives.

use std::borrow::Cow;

use crate::embeddings::answer::{self, EmbeddingsAnswer};
use crate::embeddings::format::EmbeddingsFormat;
use crate::embeddings::request::Request;
use crate::error::ApiError;
use crate::json;
use crate::object::Object;
use crate::openai::dialect::Dialect;

const PATH: &str = "/embeddings";

#[derive(Debug)]
pub(crate) struct Embeddings;

impl EmbeddingsFormat for Embeddings {
    /// Builds the request with the model's own name, and the provider's name for the dimensions.
    fn translate_request(
        &self,
        request: &Request<'_>,
        model: &str,
        dialect: &Dialect,
    ) -> Result<(Cow<'static, str>, Vec<u8>), ApiError> {
        let mut object = Object::parse(request.text).map_err(|error| {
            ApiError::new(400, json::describe_error(&error)).with_code("invalid_json")
        })?;
        object.set("model", model);
        if !dialect.base64_embeddings {
            object.remove("encoding_format");
        }
        if let (Some(name), Some(dimensions)) = (dialect.embedding_dimensions, request.dimensions) {
            object.remove("dimensions");
            object.set(name, &dimensions);
        }
        Ok((PATH.into(), object.to_vec()))
    }

    fn translate_response(
        &self,
        body: &[u8],
        request: &Request<'_>,
        dialect: &Dialect,
    ) -> Result<Option<EmbeddingsAnswer>, ApiError> {
        if dialect.base64_embeddings || !request.wants_base64() {
            return Ok(None);
        }
        answer::read(body).map(Some)
    }
}
