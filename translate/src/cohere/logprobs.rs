//! Log probabilities: Cohere's go by pieces of text, OpenAI's by tokens.

use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize)]
pub(super) struct Item {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    logprobs: Option<Vec<f64>>,
}

/// OpenAI's `logprobs` of a choice.
#[derive(Debug, Serialize)]
pub(super) struct Logprobs {
    content: Vec<Token>,
    refusal: (),
}

#[derive(Debug, Serialize)]
struct Token {
    token: String,
    logprob: f64,
    bytes: Vec<u8>,
    top_logprobs: [(); 0],
}

impl Logprobs {
    /// A piece of several tokens is as likely as all of them together.
    pub fn of(items: impl IntoIterator<Item = Item>) -> Self {
        let content = items
            .into_iter()
            .map(|item| {
                let token = item.text.unwrap_or_default();
                Token {
                    logprob: item.logprobs.iter().flatten().sum(),
                    bytes: token.as_bytes().to_vec(),
                    token,
                    top_logprobs: [],
                }
            })
            .collect();
        Self {
            content,
            refusal: (),
        }
    }
}
