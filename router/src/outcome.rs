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

impl Outcome {
    /// Reads one from JSON, or says what is wrong with it.
    pub fn parse(json: &str) -> Result<Self, String> {
        let outcome: Self = serde_json::from_str(json).map_err(|error| {
            format!("an outcome is an object with `prompt`, `model` and `error`: {error}")
        })?;
        if outcome.prompt.trim().is_empty() || outcome.model.is_empty() {
            return Err("`prompt` and `model` must not be empty".to_owned());
        }
        if !(0.0..=1.0).contains(&outcome.error) {
            return Err("`error` must be from 0, good enough, to 1".to_owned());
        }
        Ok(outcome)
    }
}
