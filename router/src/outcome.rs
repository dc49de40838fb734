//! What is learned from: how an answer of a model to a prompt turned out.

use serde::{Deserialize, Serialize};

/// A labelled answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// What was embedded of the prompt.
    pub prompt: String,
    /// `provider/model`, or a model's name whoever serves it.
    pub model: String,
    /// From 0, good enough, to 1.
    pub error: f64,
}
