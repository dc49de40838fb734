//! Which model suits a prompt.

use async_trait::async_trait;

/// Orders the candidates of an alias for one prompt.
#[async_trait]
pub trait Router: Send + Sync {
    async fn decide(&self, prompt: &str, candidates: &[String]) -> Decision;
    fn status(&self) -> Status;
}

/// An order of candidates, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// `provider/model`, best first.
    pub candidates: Vec<String>,
    pub cluster_id: Option<u32>,
    /// Probability that the first candidate's answer is not good enough.
    pub expected_error: Option<f64>,
    /// For people.
    pub reason: String,
}

/// What a router has learned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    pub is_initialized: bool,
    pub clusters: u32,
    pub is_embedder_ready: bool,
}

/// A router that has learned nothing yet: the order that the operator wrote stands.
#[derive(Debug, Default)]
pub struct Unfitted;

#[async_trait]
impl Router for Unfitted {
    async fn decide(&self, _prompt: &str, candidates: &[String]) -> Decision {
        Decision {
            candidates: candidates.to_vec(),
            cluster_id: None,
            expected_error: None,
            reason: "no router has been fitted: the configured order stands".to_owned(),
        }
    }

    fn status(&self) -> Status {
        Status::default()
    }
}
