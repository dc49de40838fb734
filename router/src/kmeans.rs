//! k-means on the unit sphere.

use crate::matrix::{self, Matrix};

const ROUNDS: usize = 20;

/// Returns the centroids of `k` clusters, or of fewer if there are fewer distinct points.
/// Deterministic for a seed.
///
/// Initialized as in k-means++ (Arthur and Vassilvitskii 2007). Centroids are means; they aren't
/// normalized.
pub fn centroids(points: &Matrix, k: usize, seed: u64) -> Matrix {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut centroids = spread(points, k, &mut random);
    for _ in 0..ROUNDS {
        let nearest: Vec<usize> = points
            .rows()
            .map(|point| nearest(&centroids, point))
            .collect();
        let moved = means(points, &nearest, &centroids);
        let is_settled = moved == centroids;
        centroids = moved;
        if is_settled {
            break;
        }
    }
    centroids
}

/// Returns the centroid with the least squared distance.
pub fn nearest(centroids: &Matrix, point: &[f32]) -> usize {
    let distance =
        |centroid: &[f32]| matrix::dot(centroid, centroid) - 2.0 * matrix::dot(centroid, point);
    let by_distance = centroids.rows().map(distance).enumerate();
    by_distance
        .min_by(|(_, a), (_, b)| a.total_cmp(b))
        .map_or(0, |(index, _)| index)
}

fn spread(points: &Matrix, k: usize, random: &mut fastrand::Rng) -> Matrix {
    let mut chosen = Vec::with_capacity(k);
    let mut distances = vec![f32::MAX; points.height()];
    while chosen.len() < k.min(points.height()) {
        let total: f64 = distances.iter().map(|&distance| f64::from(distance)).sum();
        let next = if chosen.is_empty() {
            random.usize(..points.height())
        } else if total <= 0.0 {
            break;
        } else {
            draw(&distances, total, random)
        };
        chosen.push(next);
        let centroid = points.row(next);
        for (distance, point) in distances.iter_mut().zip(points.rows()) {
            let gap: f32 = point
                .iter()
                .zip(centroid)
                .map(|(a, b)| (a - b) * (a - b))
                .sum();
            *distance = distance.min(gap);
        }
    }
    Matrix::from_rows(
        points.width(),
        chosen.into_iter().map(|index| points.row(index)),
    )
}

/// Draws an index with a probability proportional to its weight.
fn draw(weights: &[f32], total: f64, random: &mut fastrand::Rng) -> usize {
    let mut left = random.f64() * total;
    for (index, &weight) in weights.iter().enumerate() {
        left -= f64::from(weight);
        if left < 0.0 {
            return index;
        }
    }
    weights.len() - 1
}

/// Returns the mean of each cluster's points. An empty cluster keeps its centroid.
fn means(points: &Matrix, nearest: &[usize], centroids: &Matrix) -> Matrix {
    let mut sums = vec![0.0_f64; centroids.values().len()];
    let mut counts = vec![0_u32; centroids.height()];
    let width = points.width();
    for (point, &cluster) in points.rows().zip(nearest) {
        counts[cluster] += 1;
        for (sum, &value) in sums[cluster * width..].iter_mut().zip(point) {
            *sum += f64::from(value);
        }
    }
    let mut moved = centroids.clone();
    for (index, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let sums = &sums[index * width..];
        for (value, sum) in moved.row_mut(index).iter_mut().zip(sums) {
            *value = (sum / f64::from(count)) as f32;
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_that_stand_apart_are_found() {
        let mut random = fastrand::Rng::with_seed(7);
        let centers = [[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]];
        let points: Vec<f32> = (0..300)
            .flat_map(|index| centers[index % 3].map(|center| center + random.f32()))
            .collect();
        let found = centroids(&Matrix::new(2, points).unwrap(), 3, 1);
        for center in centers {
            let is_near =
                |row: &[f32]| (row[0] - center[0] - 0.5).hypot(row[1] - center[1] - 0.5) < 0.2;
            assert!(found.rows().any(is_near), "{center:?} in {found:?}");
        }
    }

    #[test]
    fn there_are_no_more_clusters_than_points() {
        let points = Matrix::new(1, vec![1.0, 1.0, 2.0]).unwrap();
        assert_eq!(centroids(&points, 5, 1).height(), 2);
    }
}
