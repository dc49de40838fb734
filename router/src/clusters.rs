//! Assignment of points to semantic clusters.

use crate::matrix::{self, Matrix};

/// Unit-length centroids, and how soft the assignment is.
#[derive(Debug, Clone, PartialEq)]
pub struct Clusters {
    centroids: Matrix,
    assignment: Assignment,
    /// A point whose similarity to every centroid is below this is far from the fitted data.
    far_below: f32,
}

/// Method that assigns a point to clusters.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Assignment {
    /// The nearest cluster alone.
    Hard,
    /// All clusters, by a softmax over their squared distances divided by `temperature`.
    Soft { temperature: f32 },
}

/// Memberships below this probability are dropped.
const LEAST: f32 = 1e-3;

/// The clusters that a point belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Membership {
    /// The nearest cluster.
    pub cluster: u32,
    /// Cosine similarity of the point and that cluster's centroid.
    pub similarity: f32,
    /// Clusters and their probabilities, most probable first; the probabilities sum to 1.
    pub probabilities: Vec<(u32, f32)>,
}

impl Clusters {
    /// Normalizes the centroids. Returns `None` if the matrix is empty or a value is not finite.
    pub fn new(mut centroids: Matrix, assignment: Assignment, far_below: f32) -> Option<Self> {
        if centroids.height() == 0 || !centroids.is_finite() {
            return None;
        }
        for index in 0..centroids.height() {
            let row = centroids.row_mut(index);
            // Rows that are already normalized stay bit-identical.
            if (matrix::dot(row, row) - 1.0).abs() > 1e-5 {
                matrix::normalize(row);
            }
        }
        Some(Self {
            centroids,
            assignment,
            far_below,
        })
    }

    pub fn len(&self) -> usize {
        self.centroids.height()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn dimensions(&self) -> usize {
        self.centroids.width()
    }

    pub fn centroids(&self) -> &Matrix {
        &self.centroids
    }

    pub fn assignment(&self) -> Assignment {
        self.assignment
    }

    pub fn far_below(&self) -> f32 {
        self.far_below
    }

    /// Returns true if a point is far from everything that the pack was fitted on.
    pub fn is_far(&self, membership: &Membership) -> bool {
        membership.similarity < self.far_below
    }

    pub fn assign(&self, embedding: &[f32]) -> Membership {
        let similarities: Vec<f32> = self
            .centroids
            .rows()
            .map(|centroid| matrix::dot(centroid, embedding))
            .collect();
        let (nearest, similarity) = similarities
            .iter()
            .copied()
            .enumerate()
            .max_by(|(_, a), (_, b)| a.total_cmp(b))
            .unwrap_or((0, 0.0));
        Membership {
            cluster: nearest as u32,
            similarity,
            probabilities: match self.assignment {
                Assignment::Hard => vec![(nearest as u32, 1.0)],
                Assignment::Soft { temperature } => soft(&similarities, similarity, temperature),
            },
        }
    }
}

/// On the unit sphere, the squared distance is two minus twice the cosine.
fn soft(similarities: &[f32], greatest: f32, temperature: f32) -> Vec<(u32, f32)> {
    let weights = similarities
        .iter()
        .map(|similarity| (2.0 * (similarity - greatest) / temperature).exp());
    let mut probabilities: Vec<(u32, f32)> = (0..)
        .zip(weights)
        .filter(|(_, weight)| *weight >= LEAST)
        .collect();
    let sum: f32 = probabilities.iter().map(|(_, weight)| weight).sum();
    probabilities
        .iter_mut()
        .for_each(|(_, weight)| *weight /= sum);
    probabilities.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    probabilities
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clusters(assignment: Assignment) -> Clusters {
        let centroids = Matrix::new(2, vec![2.0, 0.0, 0.0, 3.0]).unwrap();
        Clusters::new(centroids, assignment, 0.5).unwrap()
    }

    #[test]
    fn hard_assignment_is_the_nearest_centroid() {
        let membership = clusters(Assignment::Hard).assign(&[0.6, 0.8]);
        assert_eq!(membership.cluster, 1);
        assert_eq!(membership.probabilities, [(1, 1.0)]);
    }

    #[test]
    fn soft_assignment_sums_to_one_and_sharpens_with_less_temperature() {
        let of = |temperature| clusters(Assignment::Soft { temperature }).assign(&[0.6, 0.8]);
        let (wide, narrow) = (of(1.0), of(0.1));
        let sum: f32 = wide.probabilities.iter().map(|(_, share)| share).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert!(narrow.probabilities[0].1 > wide.probabilities[0].1);
    }

    #[test]
    fn a_point_unlike_every_centroid_is_far() {
        let clusters = clusters(Assignment::Hard);
        assert!(clusters.is_far(&clusters.assign(&[-1.0, 0.0])));
        assert!(!clusters.is_far(&clusters.assign(&[1.0, 0.0])));
    }

    #[test]
    fn centroids_that_are_no_numbers_are_refused() {
        let centroids = Matrix::new(2, vec![f32::NAN, 0.0]).unwrap();
        assert_eq!(Clusters::new(centroids, Assignment::Hard, 0.0), None);
    }
}
