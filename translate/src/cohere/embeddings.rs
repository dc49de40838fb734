//! Cohere's `embed`, version 2.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::embeddings::answer::EmbeddingsAnswer;
use crate::embeddings::format::EmbeddingsFormat;
use crate::embeddings::request::{Request, with};
use crate::error::ApiError;
use crate::json;
use crate::openai::dialect::Dialect;

/// Default input type if the client sets none: OpenAI's API has no such distinction.
const INPUT_TYPE: &str = "search_document";

#[derive(Debug)]
pub(crate) struct Embeddings;

impl EmbeddingsFormat for Embeddings {
    fn translate_request(
        &self,
        request: &Request<'_>,
        model: &str,
        _dialect: &Dialect,
    ) -> Result<(Cow<'static, str>, Vec<u8>), ApiError> {
        translate_request(model, request)
    }

    fn translate_response(
        &self,
        body: &[u8],
        _request: &Request<'_>,
        _dialect: &Dialect,
    ) -> Result<Option<EmbeddingsAnswer>, ApiError> {
        translate_response(body).map(Some)
    }
}

fn translate_request(
    name: &str,
    request: &Request<'_>,
) -> Result<(Cow<'static, str>, Vec<u8>), ApiError> {
    let body = with(texts(request)?, "model", Some(name));
    let body = with(body, "embedding_types", Some(json!(["float"])));
    Ok(("/v2/embed".into(), body.to_string().into_bytes()))
}

/// Returns the request members that Cohere's models take on every platform.
pub(crate) fn texts(request: &Request<'_>) -> Result<Value, ApiError> {
    let body = json!({
        "texts": request.texts()?,
        "input_type": request.input_type.as_deref().unwrap_or(INPUT_TYPE),
    });
    Ok(with(body, "output_dimension", request.dimensions))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Vectors {
    /// Version 1, and Bedrock.
    Plain(Vec<Vec<f32>>),
    ByType {
        float: Vec<Vec<f32>>,
    },
}

pub(crate) fn translate_response(body: &[u8]) -> Result<EmbeddingsAnswer, ApiError> {
    #[derive(Deserialize)]
    struct Wire {
        embeddings: Vectors,
        #[serde(default)]
        meta: Meta,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Meta {
        billed_units: Billed,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Billed {
        input_tokens: f64,
    }
    let wire: Wire = json::from_bytes(body).map_err(ApiError::unreadable)?;
    let vectors = match wire.embeddings {
        Vectors::Plain(vectors) | Vectors::ByType { float: vectors } => vectors,
    };
    Ok(EmbeddingsAnswer {
        vectors,
        tokens: wire.meta.billed_units.input_tokens.max(0.0) as u64,
    })
}
