//! Log probabilities: Cohere's go by pieces of text, OpenAI's by tokens.

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
    /// A piece of several tokens is as likely as all of them together.
    fn from(item: Item) -> Self {
        let logprob = item.logprobs.iter().flatten().sum();
        Self {
            chosen: Logprob::new(item.text.unwrap_or_default(), logprob),
            top_logprobs: Vec::new(),
        }
    }
}
