//! What a pack says of a point: its clusters, and how likely each model is to err.

use crate::clusters::Membership;
use crate::pack::Pack;

/// What a decision is about.
#[derive(Debug, Clone, Copy)]
pub struct Point<'a> {
    /// Of length one.
    pub embedding: &'a [f32],
    /// What was embedded, where it is known.
    pub text: Option<&'a str>,
}

/// One model's chances.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The probability that its answer is not good enough.
    pub error: f64,
    /// How unsure that is, as a standard deviation.
    pub deviation: f64,
}

/// A pack's word on a point.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    pub membership: Membership,
    /// Whether the point is unlike everything that the pack was fitted on.
    pub is_far: bool,
    /// One for each of the pack's profiles, in their order.
    pub estimates: Vec<Estimate>,
}

impl Pack {
    /// `None` where the embedding is not of the pack's dimensions.
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
