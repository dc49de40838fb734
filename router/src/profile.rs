//! A model's error rates, by cluster.

use serde::{Deserialize, Serialize};

use crate::clusters::Membership;
use crate::logistic::{logit, sigmoid};

/// A model's error rates, from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// `provider/model`, or a model's name for any provider.
    pub model: String,
    /// Error rate over all outcomes.
    pub mean_error: f64,
    /// Error rate in each cluster.
    pub errors: Vec<f64>,
    /// Number of outcomes behind each of `errors`.
    pub counts: Vec<f64>,
    /// Shrinkage: this many outcomes at the mean rate are added to each cluster, so that a cluster
    /// with few outcomes stays near the mean.
    pub strength: f64,
    /// Source of the figures.
    pub source: String,
    /// Date of the figures.
    pub date: String,
    /// Mean number of output tokens; the expected cost of a call is based on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<f64>,
    /// Correction to the clusters' rates.
    #[serde(skip)]
    pub head: Option<Head>,
}

/// A linear function of a basis's features, added to the log-odds of an error.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    pub weights: Vec<f32>,
    pub bias: f32,
}

impl Profile {
    /// Returns a cluster's rate, shrunk to the mean: the fewer its outcomes, the closer.
    pub fn shrunk_error(&self, cluster: usize) -> f64 {
        let error = self.errors.get(cluster).copied().unwrap_or(self.mean_error);
        let count = self.counts.get(cluster).copied().unwrap_or(0.0);
        (error * count + self.mean_error * self.strength) / (count + self.strength)
    }

    /// Returns the rate at a point, without the head.
    pub fn prior_error(&self, membership: &Membership) -> f64 {
        let shares = membership.probabilities.iter();
        shares
            .map(|&(cluster, share)| f64::from(share) * self.shrunk_error(cluster as usize))
            .sum()
    }

    /// Returns the rate for a point; `features` must come from the pack's basis.
    pub fn error(&self, membership: &Membership, features: &[f32]) -> f64 {
        let prior = self.prior_error(membership);
        match &self.head {
            None => prior,
            Some(head) => {
                let shift = crate::matrix::dot(&head.weights, features) + head.bias;
                sigmoid(logit(prior) + f64::from(shift))
            }
        }
    }

    /// Returns the standard deviation of the clusters' rate: its posterior is a Beta distribution.
    pub fn deviation(&self, membership: &Membership) -> f64 {
        let shares = membership.probabilities.iter();
        let count: f64 = shares
            .map(|&(cluster, share)| {
                let count = self.counts.get(cluster as usize).copied().unwrap_or(0.0);
                f64::from(share) * count
            })
            .sum();
        let error = self.prior_error(membership);
        (error * (1.0 - error) / (count + self.strength + 1.0)).sqrt()
    }

    /// Adds an outcome to the rates of the clusters that it belongs to. `error` is from 0 to 1.
    pub fn observe(&mut self, membership: &Membership, error: f64) {
        let total: f64 = self.counts.iter().sum();
        let weight = self.strength + total;
        self.mean_error = (self.mean_error * weight + error) / (weight + 1.0);
        for &(cluster, share) in &membership.probabilities {
            let index = cluster as usize;
            if let (Some(rate), Some(count)) =
                (self.errors.get_mut(index), self.counts.get_mut(index))
            {
                let share = f64::from(share);
                *rate = (*rate * *count + error * share) / (*count + share);
                *count += share;
            }
        }
    }

    /// Returns the reason why the profile doesn't fit a pack with this many clusters.
    pub fn problem(&self, clusters: usize, features: usize) -> Option<String> {
        let is_rate = |rate: &f64| (0.0..=1.0).contains(rate);
        if self.model.is_empty() {
            return Some("`model` is empty".to_owned());
        }
        if self.errors.len() != clusters || self.counts.len() != clusters {
            return Some(format!(
                "`errors` and `counts` must have {clusters} numbers each, one per cluster"
            ));
        }
        if !self.errors.iter().all(is_rate) || !is_rate(&self.mean_error) {
            return Some("an error rate must be from 0 to 1".to_owned());
        }
        if !self
            .counts
            .iter()
            .all(|count| *count >= 0.0 && count.is_finite())
        {
            return Some("a count must not be negative".to_owned());
        }
        if !(self.strength > 0.0 && self.strength.is_finite()) {
            return Some("`strength` must be greater than 0".to_owned());
        }
        match &self.head {
            Some(head) if head.weights.len() != features => Some(format!(
                "its head has {} weights, but the basis has {features} features",
                head.weights.len()
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        Profile {
            model: "m".to_owned(),
            mean_error: 0.2,
            errors: vec![0.0, 1.0],
            counts: vec![1000.0, 0.0],
            strength: 10.0,
            source: String::new(),
            date: String::new(),
            output_tokens: None,
            head: None,
        }
    }

    fn in_cluster(cluster: u32) -> Membership {
        Membership {
            cluster,
            similarity: 1.0,
            probabilities: vec![(cluster, 1.0)],
        }
    }

    #[test]
    fn a_thin_cluster_has_the_models_mean() {
        let profile = profile();
        assert_eq!(profile.shrunk_error(1), 0.2);
        assert!(profile.shrunk_error(0) < 0.003);
    }

    #[test]
    fn outcomes_move_the_cluster_they_are_in_and_make_it_surer() {
        let mut profile = profile();
        let (before, unsure) = (profile.shrunk_error(0), profile.deviation(&in_cluster(1)));
        for _ in 0..50 {
            profile.observe(&in_cluster(1), 0.9);
        }
        assert!((profile.errors[1] - 0.9).abs() < 1e-9);
        assert!(profile.shrunk_error(1) > 0.7);
        assert!((profile.shrunk_error(0) - before).abs() < 0.01);
        assert!(profile.deviation(&in_cluster(1)) < unsure);
    }

    #[test]
    fn a_head_moves_the_clusters_figure() {
        let mut profile = profile();
        profile.head = Some(Head {
            weights: vec![1.0, -1.0],
            bias: 0.0,
        });
        let at = in_cluster(1);
        assert!((profile.error(&at, &[0.5, 0.5]) - 0.2).abs() < 1e-6);
        assert!(profile.error(&at, &[1.0, 0.0]) > 0.3);
    }

    #[test]
    fn a_profile_of_another_shape_is_refused() {
        assert_eq!(profile().problem(2, 0), None);
        assert!(profile().problem(3, 0).unwrap().contains("3 numbers"));
    }
}
