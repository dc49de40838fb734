//! A pack's estimates for one prompt: its clusters, and each model's error probability.

use crate::clusters::Membership;
use crate::pack::Pack;
use crate::point::Point;

/// The estimate for one model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Probability that the model's answer is not good enough.
    pub error: f64,
    /// Standard deviation of `error`.
    pub deviation: f64,
}

/// A pack's estimates for one prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    pub membership: Membership,
    /// Set if the point is far from everything that the pack was fitted on.
    pub is_far: bool,
    /// One per profile of the pack, in the same order.
    pub estimates: Vec<Estimate>,
}

impl Pack {
    /// Returns `None` if the embedding has other dimensions than the pack.
    pub fn assess(&self, point: &Point<'_>) -> Option<Assessment> {
        if point.embedding.len() != self.clusters.dimensions() {
            return None;
        }
        let membership = self.clusters.assign(point.embedding);
        let features = match &self.basis {
            Some(basis) => basis.features(point),
            None => Vec::new(),
        };
        Some(Assessment {
            is_far: self.clusters.is_far(&membership),
            estimates: self
                .profiles
                .iter()
                .map(|profile| Estimate {
                    error: profile.error(&membership, &features),
                    deviation: profile.deviation(&membership),
                })
                .collect(),
            membership,
        })
    }
}
