//! Vertex AI's `predict`.

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
    let instances: Vec<Value> = request
        .texts()?
        .iter()
        .map(|text| match &request.input_type {
            Some(task) => json!({"content": text, "task_type": task.to_uppercase()}),
            None => json!({"content": text}),
        })
        .collect();
    let parameters = request
        .dimensions
        .map(|dimensions| json!({"outputDimensionality": dimensions}));
    let body = with(json!({"instances": instances}), "parameters", parameters);
    let path = format!(
        "/publishers/google/models/{}:predict",
        model::encode_in_path(name)
    );
    Ok((path.into(), body.to_string().into_bytes()))
}

fn translate_response(body: &[u8]) -> Result<EmbeddingsAnswer, ApiError> {
    #[derive(Deserialize)]
    struct Wire {
        predictions: Vec<Prediction>,
    }
    #[derive(Deserialize)]
    struct Prediction {
        embeddings: Embedding,
    }
    #[derive(Deserialize)]
    struct Embedding {
        values: Vec<f32>,
        #[serde(default)]
        statistics: Statistics,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Statistics {
        /// Vertex AI sends it as a float.
        token_count: f64,
    }
    let wire: Wire = json::from_bytes(body).map_err(ApiError::unreadable)?;
    let tokens: f64 = wire
        .predictions
        .iter()
        .map(|each| each.embeddings.statistics.token_count)
        .sum();
    Ok(EmbeddingsAnswer {
        tokens: tokens.max(0.0) as u64,
        vectors: wire
            .predictions
            .into_iter()
            .map(|each| each.embeddings.values)
            .collect(),
    })
}
