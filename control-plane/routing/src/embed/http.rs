//! An embedder that calls an OpenAI-compatible embeddings endpoint.

use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use opentracy_router::{matrix, pack};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{Embed, EmbedError, Urgency};
use opentracy_base::http::{ClientKind, client_builder, ensure_success};
use opentracy_config as config;

/// Maximum number of texts per call.
const MAX_BATCH: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(10);

pub struct EmbeddingServer {
    identity: pack::EmbeddingModel,
    client: reqwest::Client,
    url: Url,
    key: Option<String>,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    input: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
    encoding_format: &'static str,
}

#[derive(Deserialize)]
struct Response {
    data: Vec<Embedding>,
}

#[derive(Deserialize)]
struct Embedding {
    index: usize,
    embedding: Vec<f32>,
}

impl EmbeddingServer {
    pub fn new(config: &config::EmbeddingEndpoint) -> anyhow::Result<Self> {
        let key = config.api_key_env.as_ref().map(|variable| {
            std::env::var(variable).with_context(|| {
                format!("`router.embedder.endpoint.api_key_env` names {variable}, which is not set")
            })
        });
        Ok(Self {
            identity: pack::EmbeddingModel {
                model: config.model.clone(),
                dimensions: config.dimensions,
            },
            client: client_builder(ClientKind::Calls(TIMEOUT)).build()?,
            url: config.url.clone(),
            key: key.transpose()?,
        })
    }

    async fn call(&self, texts: &[String]) -> anyhow::Result<Vec<Vec<f32>>> {
        let mut request = self.client.post(self.url.clone()).json(&Request {
            model: &self.identity.model,
            input: texts,
            dimensions: self
                .identity
                .model
                .contains("embedding-3")
                .then_some(self.identity.dimensions),
            encoding_format: "float",
        });
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let response = ensure_success(request.send().await?)?;
        let mut data = response.json::<Response>().await?.data;
        data.sort_by_key(|each| each.index);
        let is_sound = |each: &Embedding| {
            each.embedding.len() == self.identity.dimensions
                && each.embedding.iter().all(|value| value.is_finite())
        };
        if data.len() != texts.len() || !data.iter().all(is_sound) {
            anyhow::bail!(
                "the response does not have {} vectors of {} numbers",
                texts.len(),
                self.identity.dimensions
            );
        }
        let scaled = |mut each: Embedding| {
            matrix::normalize(&mut each.embedding);
            each.embedding
        };
        Ok(data.into_iter().map(scaled).collect())
    }
}

#[async_trait]
impl Embed for EmbeddingServer {
    fn identity(&self) -> &pack::EmbeddingModel {
        &self.identity
    }

    async fn embed(&self, texts: Vec<String>, _: Urgency) -> Result<Vec<Vec<f32>>, EmbedError> {
        let mut embeddings = Vec::with_capacity(texts.len());
        for piece in texts.chunks(MAX_BATCH) {
            let embedded = self.call(piece).await;
            embeddings.extend(embedded.map_err(|error| EmbedError::Failed(format!("{error:#}")))?);
        }
        Ok(embeddings)
    }
}
