//! Features for a linear head: an approximated Gaussian kernel (Nyström's method).
//!
//! The embedding is projected onto its principal components, the lexical features are appended, and
//! the features are the kernel between the result and a set of landmarks. A head over them
//! approximates a kernel machine over all the prompts it was fitted on, at a small fixed cost per
//! decision.

use nalgebra::{DMatrix, DVector};

use crate::kmeans;
use crate::matrix::{self, Matrix};
use crate::point::Point;
use crate::surface;

/// Number of principal components kept of the embedding.
const COMPONENTS: usize = 64;
/// Maximum number of landmarks.
const LANDMARKS: usize = 512;
/// Weight of a lexical feature, relative to the embedding, whose mean square length is one.
const SURFACE_WEIGHT: f32 = 0.1;
/// Kernel parameter γ: the kernel falls to 1/e at a squared distance of one half.
const GAMMA: f32 = 2.0;
/// Lexical features are clipped at this many standard deviations from their mean.
const CLIP: f32 = 3.0;

#[derive(Debug, Clone, PartialEq)]
pub struct Basis {
    /// Subtracted from an embedding before the projection.
    pub mean: Vec<f32>,
    /// One row per component, scaled.
    pub components: Matrix,
    pub surface_mean: [f32; surface::FEATURES],
    pub surface_scale: [f32; surface::FEATURES],
    /// Landmarks in the projected space.
    pub landmarks: Matrix,
    /// Squared length of each landmark.
    squares: Vec<f32>,
}

impl Basis {
    pub fn new(
        mean: Vec<f32>,
        components: Matrix,
        surface_mean: [f32; surface::FEATURES],
        surface_scale: [f32; surface::FEATURES],
        landmarks: Matrix,
    ) -> Option<Self> {
        let is_whole = components.width() == mean.len()
            && landmarks.width() == components.height() + surface::FEATURES
            && landmarks.height() > 0
            && components.is_finite()
            && landmarks.is_finite()
            && mean.iter().all(|value| value.is_finite());
        let squares = landmarks.rows().map(|row| matrix::dot(row, row)).collect();
        is_whole.then_some(Self {
            mean,
            components,
            surface_mean,
            surface_scale,
            landmarks,
            squares,
        })
    }

    /// Fits the projection and the landmarks to points.
    pub fn fit(points: &[Point<'_>], seed: u64) -> Option<Self> {
        let dimensions = points.first()?.embedding.len();
        let mean = mean(points, dimensions);
        let components = principal_components(points, &mean);
        let (surface_mean, surface_scale) = surface_scale(points);
        let basis = Self {
            mean,
            components,
            surface_mean,
            surface_scale,
            landmarks: Matrix::default(),
            squares: Vec::new(),
        };
        let projected: Vec<Vec<f32>> = points.iter().map(|point| basis.project(point)).collect();
        let projected = Matrix::from_rows(projected[0].len(), projected.iter().map(Vec::as_slice));
        let landmarks = kmeans::centroids(&projected, LANDMARKS, seed);
        Self::new(
            basis.mean,
            basis.components,
            surface_mean,
            surface_scale,
            landmarks,
        )
    }

    pub fn len(&self) -> usize {
        self.landmarks.height()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the kernel between a point and each landmark.
    pub fn features(&self, point: &Point<'_>) -> Vec<f32> {
        let projected = self.project(point);
        let square = matrix::dot(&projected, &projected);
        self.landmarks
            .rows()
            .zip(&self.squares)
            .map(|(landmark, landmark_square)| {
                kernel(square + landmark_square, matrix::dot(landmark, &projected))
            })
            .collect()
    }

    /// A point without text gets the mean lexical features.
    fn project(&self, point: &Point<'_>) -> Vec<f32> {
        let centered: Vec<f32> = point
            .embedding
            .iter()
            .zip(&self.mean)
            .map(|(value, mean)| value - mean)
            .collect();
        let mut projected: Vec<f32> = self
            .components
            .rows()
            .map(|component| matrix::dot(component, &centered))
            .collect();
        match point.text {
            None => projected.resize(projected.len() + surface::FEATURES, 0.0),
            Some(text) => {
                let figures = surface::features(text);
                let scales = self.surface_mean.iter().zip(&self.surface_scale);
                projected.extend(figures.iter().zip(scales).map(|(figure, (mean, scale))| {
                    SURFACE_WEIGHT * ((figure - mean) * scale).clamp(-CLIP, CLIP)
                }));
            }
        }
        projected
    }

    /// Returns the whitening matrix, the inverse square root of the landmarks' kernel matrix. In
    /// whitened coordinates the kernel is the dot product: heads are fitted there, then mapped
    /// back.
    pub fn whitening(&self) -> DMatrix<f64> {
        const LEAST: f64 = 1e-3;
        let count = self.len();
        let kernel = DMatrix::from_fn(count, count, |row, column| {
            let product = matrix::dot(self.landmarks.row(row), self.landmarks.row(column));
            f64::from(kernel(self.squares[row] + self.squares[column], product))
        });
        let eigen = kernel.symmetric_eigen();
        let roots = eigen
            .eigenvalues
            .map(|value| value.max(LEAST).sqrt().recip());
        eigen.eigenvectors * DMatrix::from_diagonal(&roots)
    }
}

/// Computes the kernel from the sum of two points' squared lengths and their dot product.
fn kernel(squares: f32, product: f32) -> f32 {
    let distance = (squares - 2.0 * product).max(0.0);
    (-GAMMA * distance).exp()
}

fn mean(points: &[Point<'_>], dimensions: usize) -> Vec<f32> {
    let mut sums = vec![0.0_f64; dimensions];
    for point in points {
        for (sum, &value) in sums.iter_mut().zip(point.embedding) {
            *sum += f64::from(value);
        }
    }
    sums.iter()
        .map(|sum| (sum / points.len() as f64) as f32)
        .collect()
}

/// Returns principal components, scaled so that projected points have a mean square length of one.
fn principal_components(points: &[Point<'_>], mean: &[f32]) -> Matrix {
    let centered = DMatrix::from_fn(points.len(), mean.len(), |row, column| {
        points[row].embedding[column] - mean[column]
    });
    let covariance = (centered.tr_mul(&centered) / points.len() as f32).cast::<f64>();
    let eigen = covariance.symmetric_eigen();
    let mut order: Vec<usize> = (0..mean.len()).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    order.truncate(COMPONENTS);
    let variance: f64 = order
        .iter()
        .map(|&index| eigen.eigenvalues[index].max(0.0))
        .sum();
    // Identical points have no variance; the lower bound keeps the quotient finite in single
    // precision.
    let scale = variance.max(f64::from(f32::MIN_POSITIVE)).sqrt().recip();
    let column = |index: usize| -> DVector<f64> { eigen.eigenvectors.column(index) * scale };
    let rows: Vec<Vec<f32>> = order
        .iter()
        .map(|&index| column(index).iter().map(|&value| value as f32).collect())
        .collect();
    Matrix::from_rows(mean.len(), rows.iter().map(Vec::as_slice))
}

/// Returns each lexical feature's mean, and the factor that scales it to unit standard deviation.
fn surface_scale(points: &[Point<'_>]) -> ([f32; surface::FEATURES], [f32; surface::FEATURES]) {
    let figures: Vec<[f32; surface::FEATURES]> = points
        .iter()
        .filter_map(|point| point.text)
        .map(surface::features)
        .collect();
    let count = figures.len().max(1) as f32;
    let mean: [f32; surface::FEATURES] =
        std::array::from_fn(|index| figures.iter().map(|row| row[index]).sum::<f32>() / count);
    let scale = std::array::from_fn(|index| {
        let square = |row: &[f32; surface::FEATURES]| (row[index] - mean[index]).powi(2);
        let deviation = (figures.iter().map(square).sum::<f32>() / count).sqrt();
        if deviation > 1e-6 {
            deviation.recip()
        } else {
            0.0
        }
    });
    (mean, scale)
}
