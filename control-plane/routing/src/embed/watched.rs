//! An embedder that reports its failures to the health registry.

use async_trait::async_trait;
use opentracy_router::pack;

use super::{Embed, EmbedError, Urgency};
use opentracy_base::health::{HealthCode, HealthRegistry};

/// Reports a fault when the embedder fails, and resolves it when it answers. Being busy is not a
/// fault.
pub struct Watched {
    embedder: Box<dyn Embed>,
    health: HealthRegistry,
}

impl Watched {
    pub fn new(embedder: Box<dyn Embed>, health: HealthRegistry) -> Self {
        Self { embedder, health }
    }
}

#[async_trait]
impl Embed for Watched {
    fn identity(&self) -> &pack::EmbeddingModel {
        self.embedder.identity()
    }

    async fn embed(
        &self,
        texts: Vec<String>,
        urgency: Urgency,
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        let embedded = self.embedder.embed(texts, urgency).await;
        match &embedded {
            Ok(_) => {
                if self.health.resolve(HealthCode::Embedder, "") {
                    tracing::info!(event = "embedder_recovered");
                }
            }
            Err(EmbedError::Busy) => {}
            Err(error) => {
                if self
                    .health
                    .report(HealthCode::Embedder, "", error.to_string())
                {
                    tracing::warn!(event = "embedder_failed", "{error}");
                }
            }
        }
        embedded
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    struct Scripted(pack::EmbeddingModel, Mutex<Vec<Result<(), EmbedError>>>);

    #[async_trait]
    impl Embed for Scripted {
        fn identity(&self) -> &pack::EmbeddingModel {
            &self.0
        }

        async fn embed(&self, _: Vec<String>, _: Urgency) -> Result<Vec<Vec<f32>>, EmbedError> {
            let next = self.1.lock().unwrap().remove(0);
            next.map(|()| Vec::new())
        }
    }

    #[tokio::test]
    async fn a_failure_is_a_fault_until_it_answers_and_being_busy_is_none() {
        let failed = || Err(EmbedError::Failed("timed out".to_owned()));
        let script = vec![
            Err(EmbedError::Busy),
            failed(),
            Err(EmbedError::Busy),
            Ok(()),
        ];
        let identity = pack::EmbeddingModel {
            model: "m".to_owned(),
            dimensions: 1,
        };
        let health = HealthRegistry::default();
        let scripted = Scripted(identity, Mutex::new(script));
        let watched = Watched::new(Box::new(scripted), health.clone());
        let mut faults = Vec::new();
        for _ in 0..4 {
            let _ = watched.embed(Vec::new(), Urgency::Request).await;
            faults.push(health.count(HealthCode::Embedder));
        }
        assert_eq!(faults, [0, 1, 1, 0]);
    }
}
