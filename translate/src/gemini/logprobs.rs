//! Gemini's `logprobsResult` as OpenAI's `logprobs`.

use serde::Deserialize;

use crate::openai::logprobs::{Logprob, Logprobs, TokenLogprob};

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LogprobsResult {
    chosen_candidates: Vec<Candidate>,
    top_candidates: Vec<Top>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Top {
    candidates: Vec<Candidate>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Candidate {
    token: String,
    log_probability: f64,
}

impl From<Candidate> for Logprob {
    fn from(candidate: Candidate) -> Self {
        Self::new(candidate.token, candidate.log_probability)
    }
}

impl From<LogprobsResult> for Logprobs {
    fn from(result: LogprobsResult) -> Self {
        let mut top = result.top_candidates.into_iter();
        result
            .chosen_candidates
            .into_iter()
            .map(|chosen| TokenLogprob {
                chosen: chosen.into(),
                top_logprobs: top
                    .next()
                    .unwrap_or_default()
                    .candidates
                    .into_iter()
                    .map(Logprob::from)
                    .collect(),
            })
            .collect()
    }
}
