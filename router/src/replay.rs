//! What a pack would have done with calls that were made: nobody is asked again.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::assess::Assessment;
use crate::decide::{Candidate, Weights, decide};

/// What the decisions come to. Costs are in USD.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Replay {
    pub calls: u64,
    /// Calls for which another model would have been chosen.
    pub changed: u64,
    /// What they cost.
    pub actual_cost: f64,
    /// What they are expected to have cost.
    pub replayed_cost: f64,
    /// The mean expected error of the models that answered.
    pub actual_error: f64,
    /// The mean expected error of those that would have.
    pub replayed_error: f64,
    /// How many calls each model would have got, by candidate.
    pub chosen: BTreeMap<String, u64>,
    /// The share of calls far from what the pack was fitted on.
    pub far_share: f64,
}

/// A call that was made.
#[derive(Debug)]
pub struct Call<'a> {
    pub assessment: &'a Assessment,
    /// `provider/model`, and what is known of it.
    pub candidates: &'a [(String, Candidate)],
    /// The place of the one that answered, where it is among them.
    pub actual: Option<usize>,
    pub actual_cost: f64,
}

impl Replay {
    pub fn add(&mut self, call: &Call<'_>, weights: &Weights) {
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
