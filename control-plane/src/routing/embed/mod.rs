//! Texts into vectors.

mod http;
mod onnx;
mod watched;
mod worker;

use std::sync::Arc;

use async_trait::async_trait;
use opentracy_router::pack;

use crate::config;
use crate::health::HealthRegistry;

/// Turns texts into vectors of length one.
#[async_trait]
pub trait Embed: Send + Sync {
    /// What it is; packs are of one embedder.
    fn identity(&self) -> &pack::Embedder;

    /// One vector for each text, in their order. Work for which nobody waits gives way to requests.
    async fn embed(
        &self,
        texts: Vec<String>,
        urgency: Urgency,
    ) -> Result<Vec<Vec<f32>>, EmbedError>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody waits for an answer.
    Request,
    /// A job.
    Job,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum EmbedError {
    #[error("the embedder has too much to do")]
    Busy,
    #[error("the embedder failed: {0}")]
    Failed(String),
}

/// The embedder that the configuration asks for; `None` where its files are not there.
pub fn open(
    config: &config::Embedder,
    health: &HealthRegistry,
) -> anyhow::Result<Option<Arc<dyn Embed>>> {
    let watched = |embedder: Box<dyn Embed>| {
        let watched = watched::Watched::new(embedder, health.clone());
        Arc::new(watched) as Arc<dyn Embed>
    };
    if let Some(endpoint) = &config.endpoint {
        return Ok(Some(watched(Box::new(http::Endpoint::new(endpoint)?))));
    }
    let Some(files) = onnx::Files::find(config) else {
        return Ok(None);
    };
    let embedder = worker::Worker::start(onnx::Model::load(&files, config)?)?;
    Ok(Some(watched(Box::new(embedder))))
}
