//! The trade-off between error, cost and latency.

use crate::assess::{Assessment, Estimate};

/// A model that can be chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Index of its profile in the pack; `None` if the pack has no profile for it.
    pub profile: Option<usize>,
    /// Expected cost of the call in USD; `None` if it has no price.
    pub cost: Option<f64>,
    /// Expected latency in seconds; `None` if none has been measured.
    pub latency: Option<f64>,
}

/// Trade-off weights, in units of expected error: how much more of it is acceptable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    /// Acceptable for saving the whole cost of the most expensive candidate: UniRoute's λ, made
    /// independent of currency.
    pub cost: f64,
    /// Acceptable for saving the whole latency of the slowest candidate.
    pub latency: f64,
    /// Share of decisions, from 0 to 1, that may explore a model whose error is still uncertain.
    pub exploration: f64,
}

/// The order of the candidates, with their scores.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// Indexes of the candidates, best first.
    pub order: Vec<usize>,
    /// One per candidate, in the order given.
    pub scores: Vec<Score>,
    /// Set if the first candidate was chosen for exploration.
    pub is_exploration: bool,
}

/// The parts of a candidate's score. Lower is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    pub error: f64,
    /// Cost as a share of the most expensive candidate's, from 0 to 1.
    pub cost_share: f64,
    /// Latency as a share of the slowest candidate's, from 0 to 1.
    pub latency_share: f64,
    pub total: f64,
}

/// Orders the candidates. `random` returns a number from 0 to 1; it is called only if there is
/// something to explore.
///
/// A candidate without a profile gets the mean error of the pack's models at this point, one
/// without a price counts as the most expensive, one without a latency gets the mean of the others.
pub fn decide(
    assessment: &Assessment,
    candidates: &[Candidate],
    weights: &Weights,
    random: impl FnMut() -> f64,
) -> Ranking {
    let estimates = estimates(assessment, candidates);
    let cost_shares = shares(candidates.iter().map(|candidate| candidate.cost), |known| {
        known.iter().copied().fold(0.0, f64::max)
    });
    let latency_shares = shares(
        candidates.iter().map(|candidate| candidate.latency),
        |known| known.iter().sum::<f64>() / known.len().max(1) as f64,
    );
    let scores: Vec<Score> = estimates
        .iter()
        .zip(cost_shares.iter().zip(&latency_shares))
        .map(|(estimate, (&cost_share, &latency_share))| Score {
            error: estimate.error,
            cost_share,
            latency_share,
            total: estimate.error + weights.cost * cost_share + weights.latency * latency_share,
        })
        .collect();
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    // The sort is stable: on equal scores, the operator's order wins.
    order.sort_by(|&a, &b| scores[a].total.total_cmp(&scores[b].total));
    let explored = explore(&estimates, &scores, weights.exploration, random);
    let is_exploration = explored.is_some_and(|explored| order.first() != Some(&explored));
    if let Some(explored) = explored.filter(|_| is_exploration) {
        order.retain(|&index| index != explored);
        order.insert(0, explored);
    }
    Ranking {
        order,
        scores,
        is_exploration,
    }
}

fn estimates(assessment: &Assessment, candidates: &[Candidate]) -> Vec<Estimate> {
    let known = &assessment.estimates;
    let count = known.len().max(1) as f64;
    let unknown = Estimate {
        error: match known.is_empty() {
            true => 0.5,
            false => known.iter().map(|estimate| estimate.error).sum::<f64>() / count,
        },
        // Maximum uncertainty: uniform from 0 to 1.
        deviation: 12.0_f64.sqrt().recip(),
    };
    let of_candidate = |candidate: &Candidate| {
        let known = candidate.profile.and_then(|profile| known.get(profile));
        known.copied().unwrap_or(unknown)
    };
    candidates.iter().map(of_candidate).collect()
}

/// Returns each figure as a share of the greatest; `unknown` derives the missing figures from the
/// known ones.
fn shares(
    figures: impl Iterator<Item = Option<f64>> + Clone,
    unknown: impl Fn(&[f64]) -> f64,
) -> Vec<f64> {
    let known: Vec<f64> = figures.clone().flatten().collect();
    let stand_in = unknown(&known);
    let greatest = known.iter().copied().fold(stand_in, f64::max);
    figures
        .map(|figure| match greatest > 0.0 {
            true => figure.unwrap_or(stand_in) / greatest,
            false => 0.0,
        })
        .collect()
}

/// Thompson sampling (Thompson 1933), in the share of decisions that may explore: each candidate's
/// error is drawn from its distribution, so each is tried as often as it may turn out to be the
/// best.
fn explore(
    estimates: &[Estimate],
    scores: &[Score],
    share: f64,
    mut random: impl FnMut() -> f64,
) -> Option<usize> {
    if share <= 0.0 || random() >= share {
        return None;
    }
    let mut normal = || {
        // Box–Muller transform (Box and Muller 1958).
        let radius = (-2.0 * random().max(f64::MIN_POSITIVE).ln()).sqrt();
        radius * (std::f64::consts::TAU * random()).cos()
    };
    let drawn: Vec<f64> = estimates
        .iter()
        .zip(scores)
        .map(|(estimate, score)| score.total + estimate.deviation * normal())
        .collect();
    let by_score = drawn.iter().enumerate();
    by_score
        .min_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clusters::Membership;

    fn assessment(errors: &[f64]) -> Assessment {
        Assessment {
            membership: Membership {
                cluster: 0,
                similarity: 1.0,
                probabilities: vec![(0, 1.0)],
            },
            is_far: false,
            estimates: errors
                .iter()
                .map(|&error| Estimate {
                    error,
                    deviation: 0.2,
                })
                .collect(),
        }
    }

    fn candidate(profile: usize, cost: f64) -> Candidate {
        Candidate {
            profile: Some(profile),
            cost: Some(cost),
            latency: None,
        }
    }

    fn weights(cost: f64) -> Weights {
        Weights {
            cost,
            latency: 0.0,
            exploration: 0.0,
        }
    }

    #[test]
    fn more_weight_on_cost_moves_the_choice_to_the_cheaper_model() {
        let candidates = [candidate(0, 0.01), candidate(1, 0.001)];
        let first = |weight| {
            let at = assessment(&[0.1, 0.3]);
            decide(&at, &candidates, &weights(weight), || 0.5).order[0]
        };
        assert_eq!((first(0.0), first(0.2), first(0.3)), (0, 0, 1));
    }

    #[test]
    fn equal_scores_keep_the_order_they_came_in() {
        let candidates = [candidate(0, 0.0), candidate(0, 0.0), candidate(0, 0.0)];
        let decision = decide(&assessment(&[0.1]), &candidates, &weights(1.0), || 0.5);
        assert_eq!(decision.order, [0, 1, 2]);
    }

    #[test]
    fn a_model_that_nothing_is_known_of_stands_in_the_middle() {
        let unknown = Candidate {
            profile: None,
            cost: None,
            latency: None,
        };
        let candidates = [candidate(0, 0.01), unknown, candidate(1, 0.01)];
        let decision = decide(&assessment(&[0.4, 0.1]), &candidates, &weights(0.1), || 0.5);
        assert_eq!(decision.order, [2, 1, 0]);
        assert_eq!(decision.scores[1].cost_share, 1.0);
    }

    #[test]
    fn a_slow_model_is_passed_over_where_latency_weighs() {
        let mut candidates = [candidate(0, 0.0), candidate(1, 0.0)];
        (candidates[0].latency, candidates[1].latency) = (Some(4.0), Some(1.0));
        let weights = Weights {
            latency: 0.2,
            ..weights(0.0)
        };
        let decision = decide(&assessment(&[0.1, 0.2]), &candidates, &weights, || 0.5);
        assert_eq!(decision.order, [1, 0]);
    }

    #[test]
    fn exploration_keeps_its_budget_and_tries_the_unsure() {
        let candidates = [candidate(0, 0.0), candidate(1, 0.0)];
        let weights = Weights {
            exploration: 0.2,
            ..weights(0.0)
        };
        let mut random = fastrand::Rng::with_seed(1);
        let explored = (0..10_000)
            .filter(|_| {
                let at = assessment(&[0.3, 0.35]);
                decide(&at, &candidates, &weights, || random.f64()).is_exploration
            })
            .count();
        assert!((500..2_000).contains(&explored), "{explored}");
    }
}
