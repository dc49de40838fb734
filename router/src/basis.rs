//! Features of a point that a linear head can use: a Gaussian kernel's, by Nyström's method.
//!
//! The embedding is projected on its principal components, the surface figures are put beside it, and the features are
//! the kernel between the result and a set of landmarks. A head over them is nearly a kernel machine over every prompt it
//! was fitted on, at a fixed and small price per decision.

use nalgebra::{DMatrix, DVector};

use crate::assess::Point;
use crate::kmeans;
use crate::matrix::{self, Matrix};
use crate::surface;

/// How many principal components of the embedding are kept.
const COMPONENTS: usize = 64;
/// How many landmarks there are at most.
const LANDMARKS: usize = 512;
/// What a surface figure weighs beside the embedding, whose mean square length is one.
const SURFACE_WEIGHT: f32 = 0.1;
/// The kernel's: it falls to 1/e at a squared distance of a half.
const GAMMA: f32 = 2.0;
/// Figures further from their mean than this many standard deviations count as if they were there.
const CLIP: f32 = 3.0;

#[derive(Debug, Clone, PartialEq)]
pub struct Basis {
    /// What is taken from an embedding before it is projected.
    pub mean: Vec<f32>,
    /// A row per component, scaled.
    pub components: Matrix,
    pub surface_mean: [f32; surface::FEATURES],
    pub surface_scale: [f32; surface::FEATURES],
    /// In the projected space.
    pub landmarks: Matrix,
    /// Each landmark's squared length.
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

    /// Learns the projection and the landmarks from points.
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

    /// The kernel between a point and each landmark.
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

    /// A point without a text has the figures of the mean text.
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

    /// What turns kernel features into coordinates in which the kernel is the dot product: the inverse root of the
    /// landmarks' own kernel. Heads are fitted in them, and folded back.
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

/// Of two points, by the sum of their squared lengths and their dot product.
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

/// Scaled so that the projected points have a mean square length of one.
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
    // Of points that are all alike there is none; what it is divided by stays a number in single precision.
    let scale = variance.max(f64::from(f32::MIN_POSITIVE)).sqrt().recip();
    let column = |index: usize| -> DVector<f64> { eigen.eigenvectors.column(index) * scale };
    let rows: Vec<Vec<f32>> = order
        .iter()
        .map(|&index| column(index).iter().map(|&value| value as f32).collect())
        .collect();
    Matrix::from_rows(mean.len(), rows.iter().map(Vec::as_slice))
}

/// Means, and what a figure is multiplied by to have a standard deviation of one.
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
