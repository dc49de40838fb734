//! Logistic regression with an offset, by Newton's method.

use nalgebra::{Cholesky, DMatrix, DVector};

const ROUNDS: usize = 8;
const SETTLED: f64 = 1e-4;

pub fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

/// Returns the inverse of [`sigmoid`], kept finite.
pub fn logit(probability: f64) -> f64 {
    let probability = probability.clamp(1e-4, 1.0 - 1e-4);
    (probability / (1.0 - probability)).ln()
}

/// A fitted model. A row's log-odds are its offset, plus the weights times its features, plus the
/// bias.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    pub weights: Vec<f64>,
    pub bias: f64,
}

/// Fits `targets` (from 0 to 1), with an L2 penalty on the weights.
///
/// The features' last column must be ones: its weight is the bias, which is not penalized.
pub fn fit(
    features: &DMatrix<f32>,
    targets: &[f64],
    offsets: &[f64],
    penalty: f64,
) -> Option<Fitted> {
    let columns = features.ncols();
    let mut weights = DVector::<f64>::zeros(columns);
    let mut penalties = DVector::from_element(columns, penalty);
    penalties[columns - 1] = 1e-3;
    for _ in 0..ROUNDS {
        let logits = features * weights.clone().cast::<f32>();
        let errors = logits.iter().zip(offsets).zip(targets);
        let probability = errors.map(|((logit, offset), target)| {
            let probability = sigmoid(f64::from(*logit) + offset);
            (probability, target - probability)
        });
        let (probabilities, residuals): (Vec<f64>, Vec<f64>) = probability.unzip();
        let mut scaled = features.clone();
        for (mut row, probability) in scaled.row_iter_mut().zip(&probabilities) {
            row *= (probability * (1.0 - probability)).max(1e-6).sqrt() as f32;
        }
        let mut hessian = scaled.tr_mul(&scaled).cast::<f64>();
        for (index, penalty) in penalties.iter().enumerate() {
            hessian[(index, index)] += penalty;
        }
        let residuals =
            DVector::from_iterator(residuals.len(), residuals.iter().map(|&r| r as f32));
        let gradient =
            features.tr_mul(&residuals).cast::<f64>() - penalties.component_mul(&weights);
        let step = Cholesky::new(hessian)?.solve(&gradient);
        weights += &step;
        if step.amax() < SETTLED {
            break;
        }
    }
    let bias = weights[columns - 1];
    weights
        .iter()
        .all(|weight| weight.is_finite())
        .then(|| Fitted {
            weights: weights.iter().take(columns - 1).copied().collect(),
            bias,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_made_the_targets_is_found() {
        let mut random = fastrand::Rng::with_seed(3);
        let count = 20_000;
        let features = DMatrix::from_fn(count, 3, |_, column| match column {
            2 => 1.0,
            _ => random.f32() * 2.0 - 1.0,
        });
        let targets: Vec<f64> = (0..count)
            .map(|row| {
                let logit = 2.0 * features[(row, 0)] - features[(row, 1)] + 0.5;
                f64::from(random.f64() < sigmoid(f64::from(logit)))
            })
            .collect();
        let fitted = fit(&features, &targets, &vec![0.0; count], 1.0).unwrap();
        let expected = [2.0, -1.0, 0.5];
        let found = [fitted.weights[0], fitted.weights[1], fitted.bias];
        for (expected, found) in expected.iter().zip(found) {
            assert!((expected - found).abs() < 0.12, "{found} for {expected}");
        }
    }

    #[test]
    fn without_outcomes_that_disagree_the_offset_stands() {
        let features = DMatrix::from_fn(
            4,
            2,
            |row, column| if column == 1 { 1.0 } else { row as f32 },
        );
        let offsets = vec![logit(0.25); 4];
        let fitted = fit(&features, &[0.25; 4], &offsets, 1.0).unwrap();
        assert!(fitted.weights[0].abs() < 1e-6 && fitted.bias.abs() < 1e-6);
    }
}
