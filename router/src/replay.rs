//! Replays recorded calls with a pack, without calling a model.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::assess::Assessment;
use crate::decide::{Candidate, Weights, decide};

/// Result of a replay. Costs are in USD.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Replay {
    pub calls: u64,
    /// Number of calls that would have gone to another model.
    pub changed: u64,
    /// Actual cost of the calls.
    pub actual_cost: f64,
    /// Expected cost of the replayed decisions.
    pub replayed_cost: f64,
    /// Mean expected error of the models that answered.
    pub actual_error: f64,
    /// Mean expected error of the models that would have answered.
    pub replayed_error: f64,
    /// Number of calls that each candidate would have received.
    pub chosen: BTreeMap<String, u64>,
    /// Share of calls far from the data that the pack was fitted on.
    pub far_share: f64,
}

/// A recorded call.
#[derive(Debug)]
pub struct RecordedCall<'a> {
    pub assessment: &'a Assessment,
    /// `provider/model`, and its known figures.
    pub candidates: &'a [(String, Candidate)],
    /// Index of the candidate that answered, if it is in `candidates`.
    pub actual: Option<usize>,
    pub actual_cost: f64,
}

impl Replay {
    pub fn add(&mut self, call: &RecordedCall<'_>, weights: &Weights) {
        let candidates: Vec<Candidate> = call
            .candidates
            .iter()
            .map(|(_, candidate)| candidate.clone())
            .collect();
        let decision = decide(call.assessment, &candidates, weights, || 1.0);
        let Some(&chosen) = decision.order.first() else {
            return;
        };
        let before = self.calls as f64;
        self.calls += 1;
        let mean = |mean: f64, value: f64| (mean * before + value) / (before + 1.0);
        let error = |index: usize| decision.scores[index].error;
        self.changed += u64::from(call.actual != Some(chosen));
        self.actual_cost += call.actual_cost;
        self.replayed_cost += match call.actual == Some(chosen) {
            true => call.actual_cost,
            false => candidates[chosen].cost.unwrap_or(call.actual_cost),
        };
        self.actual_error = mean(self.actual_error, error(call.actual.unwrap_or(chosen)));
        self.replayed_error = mean(self.replayed_error, error(chosen));
        self.far_share = mean(self.far_share, f64::from(u8::from(call.assessment.is_far)));
        let name = call.candidates[chosen].0.clone();
        *self.chosen.entry(name).or_default() += 1;
    }
}
