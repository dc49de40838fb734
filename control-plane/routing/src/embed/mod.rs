//! Embedders, which turn texts into vectors.

mod http;
mod onnx;
mod watched;
mod worker;

use std::sync::Arc;

use async_trait::async_trait;
use opentracy_router::pack;

use opentracy_base::health::HealthRegistry;
use opentracy_config as config;

/// Embeds texts as vectors of length one.
#[async_trait]
pub trait Embed: Send + Sync {
    /// Returns the embedder's identity. A pack only works with the embedder that it was made with.
    fn identity(&self) -> &pack::EmbeddingModel;

    /// Returns one vector per text, in order. Jobs yield to requests.
    async fn embed(
        &self,
        texts: Vec<String>,
        urgency: Urgency,
    ) -> Result<Vec<Vec<f32>>, EmbedError>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// A client is waiting for the result.
    Request,
    /// A background job.
    Job,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum EmbedError {
    #[error("the embedder is overloaded")]
    Busy,
    #[error("the embedder failed: {0}")]
    Failed(String),
}

/// Opens the configured embedder. Returns `None` if its files are missing.
pub fn open(
    config: &config::Embedder,
    health: &HealthRegistry,
) -> anyhow::Result<Option<Arc<dyn Embed>>> {
    let watched = |embedder: Box<dyn Embed>| {
        let watched = watched::Watched::new(embedder, health.clone());
        Arc::new(watched) as Arc<dyn Embed>
    };
    if let Some(endpoint) = &config.endpoint {
        return Ok(Some(watched(Box::new(http::EmbeddingServer::new(
            endpoint,
        )?))));
    }
    let Some(files) = onnx::OnnxFiles::find(config) else {
        return Ok(None);
    };
    let embedder = worker::Worker::start(onnx::OnnxModel::load(&files, config)?)?;
    Ok(Some(watched(Box::new(embedder))))
}
