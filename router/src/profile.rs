//! How often one model errs, by cluster.

use serde::{Deserialize, Serialize};

use crate::clusters::Membership;
use crate::logistic::{logit, sigmoid};

/// What is known of a model's errors. Rates are from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// `provider/model`, or a model's name whoever serves it.
    pub model: String,
    /// In all.
    pub mean_error: f64,
    /// The rate in each cluster.
    pub errors: Vec<f64>,
    /// How many outcomes each of them rests on.
    pub counts: Vec<f64>,
    /// As many outcomes of the mean rate are added to those of each cluster, so that a thin one is near the mean.
    pub strength: f64,
    /// Where the figures are from.
    pub source: String,
    /// When they were taken.
    pub date: String,
    /// Tokens of an answer, on average; what a call is expected to cost rests on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<f64>,
    /// What departs from the clusters' figures.
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
    /// A cluster's rate, drawn to the mean by as much as the cluster is thin.
    pub fn shrunk_error(&self, cluster: usize) -> f64 {
        let error = self.errors.get(cluster).copied().unwrap_or(self.mean_error);
        let count = self.counts.get(cluster).copied().unwrap_or(0.0);
        (error * count + self.mean_error * self.strength) / (count + self.strength)
    }

    /// The rate where a point is, without the head.
    pub fn prior_error(&self, membership: &Membership) -> f64 {
        let shares = membership.probabilities.iter();
        shares
            .map(|&(cluster, share)| f64::from(share) * self.shrunk_error(cluster as usize))
            .sum()
    }

    /// The rate for a point; `features` are of the pack's basis.
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

    /// How sure the clusters' figure is: the standard deviation of its posterior, a Beta distribution.
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

    /// Takes one more outcome into the figures of the clusters it is in. `error` is from 0 to 1.
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

    /// Why the profile can't be used with a pack of so many clusters.
    pub fn problem(&self, clusters: usize, features: usize) -> Option<String> {
        let is_rate = |rate: &f64| (0.0..=1.0).contains(rate);
        if self.model.is_empty() {
            return Some("`model` is empty".to_owned());
        }
        if self.errors.len() != clusters || self.counts.len() != clusters {
            return Some(format!(
                "`errors` and `counts` must have {clusters} numbers each, one for each cluster"
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
            return Some("`strength` must be more than 0".to_owned());
        }
        match &self.head {
            Some(head) if head.weights.len() != features => Some(format!(
                "its head has {} weights, and the basis {features} features",
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
