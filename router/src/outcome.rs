//! Training data: labeled answers of models to prompts.

use serde::{Deserialize, Serialize};

/// A labeled answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename = "Outcome")]
pub struct LabeledOutcome {
    /// The embedded part of the prompt.
    pub prompt: String,
    /// `provider/model`, or a model's name for any provider.
    pub model: String,
    /// From 0 (good enough) to 1.
    pub error: f64,
}

impl LabeledOutcome {
    /// Parses an outcome from JSON; the error is a message for the user.
    pub fn parse(json: &str) -> Result<Self, String> {
        let outcome: Self = serde_json::from_str(json).map_err(|error| {
            format!("an outcome is an object with `prompt`, `model` and `error`: {error}")
        })?;
        if outcome.prompt.trim().is_empty() || outcome.model.is_empty() {
            return Err("`prompt` and `model` must not be empty".to_owned());
        }
        if !(0.0..=1.0).contains(&outcome.error) {
            return Err("`error` must be from 0 (good enough) to 1".to_owned());
        }
        Ok(outcome)
    }
}
