//! Bedrock's `invoke`, for Amazon's Titan and Cohere's models.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::json;

use crate::cohere::embeddings as cohere;
use crate::embeddings::answer::EmbeddingsAnswer;
use crate::embeddings::format::EmbeddingsFormat;
use crate::embeddings::request::{Request, with};
use crate::error::ApiError;
use crate::json;
use crate::model;
use crate::openai::dialect::Dialect;

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
    let body = if name.contains("titan-embed") {
        let texts = request.texts()?;
        let [text] = texts.as_slice() else {
            let words = "Amazon's Titan accepts one text per request; send one request per text, or use a model of Cohere's";
            return Err(ApiError::invalid("input", words));
        };
        let body = json!({"inputText": text});
        with(body, "dimensions", request.dimensions)
    } else if name.contains("cohere.embed") {
        cohere::texts(request)?
    } else {
        let words = format!(
            "\"{name}\" is not a known embedding model; on Bedrock, use Amazon's Titan or Cohere's models"
        );
        return Err(ApiError::invalid("model", words));
    };
    let path = format!("/model/{}/invoke", model::encode_in_path(name));
    Ok((path.into(), body.to_string().into_bytes()))
}

fn translate_response(body: &[u8]) -> Result<EmbeddingsAnswer, ApiError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Titan {
        embedding: Vec<f32>,
        #[serde(default)]
        input_text_token_count: u64,
    }
    match json::from_bytes::<Titan>(body) {
        Ok(titan) => Ok(EmbeddingsAnswer {
            vectors: vec![titan.embedding],
            tokens: titan.input_text_token_count,
        }),
        Err(_) => cohere::translate_response(body),
    }
}
