//! OpenAI's `logprobs` of a choice.

use serde::Serialize;

#[derive(Debug, Serialize)]
pub(crate) struct Logprobs {
    pub content: Vec<TokenLogprob>,
    pub refusal: (),
}

#[derive(Debug, Serialize)]
pub(crate) struct TokenLogprob {
    #[serde(flatten)]
    pub chosen: Logprob,
    pub top_logprobs: Vec<Logprob>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Logprob {
    token: String,
    logprob: f64,
    bytes: Vec<u8>,
}

impl Logprob {
    pub fn new(token: String, logprob: f64) -> Self {
        Self {
            bytes: token.as_bytes().to_vec(),
            token,
            logprob,
        }
    }
}

impl FromIterator<TokenLogprob> for Logprobs {
    fn from_iter<I: IntoIterator<Item = TokenLogprob>>(tokens: I) -> Self {
        Self {
            content: tokens.into_iter().collect(),
            refusal: (),
        }
    }
}
