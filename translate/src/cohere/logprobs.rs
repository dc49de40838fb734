//! Log probabilities: Cohere reports them per piece of text, OpenAI per token.

use serde::Deserialize;

use crate::openai::logprobs::{Logprob, TokenLogprob};

#[derive(Debug, Deserialize)]
pub(super) struct Item {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    logprobs: Option<Vec<f64>>,
}

impl From<Item> for TokenLogprob {
    /// The log probability of a piece is the sum over its tokens.
    fn from(item: Item) -> Self {
        let logprob = item.logprobs.iter().flatten().sum();
        Self {
            chosen: Logprob::new(item.text.unwrap_or_default(), logprob),
            top_logprobs: Vec::new(),
        }
    }
}
