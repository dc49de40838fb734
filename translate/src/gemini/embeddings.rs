//! Google's `batchEmbedContents`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

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
    let requests: Vec<Value> = request
        .texts()?
        .iter()
        .map(|text| {
            let each = json!({
                "model": format!("models/{name}"),
                "content": {"parts": [{"text": text}]},
            });
            let each = with(each, "outputDimensionality", request.dimensions);
            let task = request.input_type.as_ref().map(|task| task.to_uppercase());
            with(each, "taskType", task)
        })
        .collect();
    let path = format!("/models/{}:batchEmbedContents", model::encode_in_path(name));
    let body = json!({"requests": requests}).to_string();
    Ok((path.into(), body.into_bytes()))
}

fn translate_response(body: &[u8]) -> Result<EmbeddingsAnswer, ApiError> {
    #[derive(Deserialize)]
    struct Wire {
        embeddings: Vec<Embedding>,
    }
    #[derive(Deserialize)]
    struct Embedding {
        values: Vec<f32>,
    }
    let wire: Wire = json::from_bytes(body).map_err(ApiError::unreadable)?;
    Ok(EmbeddingsAnswer {
        vectors: wire
            .embeddings
            .into_iter()
            .map(|each| each.values)
            .collect(),
        tokens: 0,
    })
}
