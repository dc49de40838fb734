//! Baselines: simpler routers with the same embeddings.

use nalgebra::DMatrix;
use opentracy_router::{Matrix, kmeans, logistic, matrix};

use crate::Guess;
use crate::prompts::Labelled;

type Router = fn(&[Labelled], &[Labelled]) -> Vec<Guess>;

pub const ALL: [(&str, Router); 5] = [
    ("random", random),
    ("k-means, hard, k = 100", k_means),
    ("nearest 50", |train, dev| nearest(train, dev, 50)),
    ("nearest 100", |train, dev| nearest(train, dev, 100)),
    ("logistic head per model", heads),
];

fn random(_: &[Labelled], dev: &[Labelled]) -> Vec<Guess> {
    let mut random = fastrand::Rng::with_seed(1);
    let guess = |_| Guess {
        weak: random.f64(),
        strong: 0.0,
    };
    dev.iter().map(guess).collect()
}

fn k_means(train: &[Labelled], dev: &[Labelled]) -> Vec<Guess> {
    let width = train[0].embedding.len();
    let points = Matrix::from_rows(width, train.iter().map(|prompt| &*prompt.embedding));
    let centroids = kmeans::centroids(&points, 100, 1);
    let cluster = |embedding: &[f32]| kmeans::nearest(&centroids, embedding);
    let mut sums = vec![(0.0, 0.0, 0.0); centroids.height()];
    for prompt in train {
        let (count, weak, strong) = &mut sums[cluster(&prompt.embedding)];
        *count += 1.0;
        *weak += prompt.weak_error;
        *strong += prompt.strong_error;
    }
    let guess = |prompt: &Labelled| {
        let (count, weak, strong) = sums[cluster(&prompt.embedding)];
        Guess {
            weak: weak / f64::max(count, 1.0),
            strong: strong / f64::max(count, 1.0),
        }
    };
    dev.iter().map(guess).collect()
}

fn nearest(train: &[Labelled], dev: &[Labelled], k: usize) -> Vec<Guess> {
    let guess = |prompt: &Labelled| {
        let mut similar: Vec<(f32, &Labelled)> = train
            .iter()
            .map(|other| (matrix::dot(&other.embedding, &prompt.embedding), other))
            .collect();
        similar.select_nth_unstable_by(k, |(a, _), (b, _)| b.total_cmp(a));
        let mean = |error: fn(&Labelled) -> f64| {
            similar[..k]
                .iter()
                .map(|(_, other)| error(other))
                .sum::<f64>()
                / k as f64
        };
        Guess {
            weak: mean(|other| other.weak_error),
            strong: mean(|other| other.strong_error),
        }
    };
    dev.iter().map(guess).collect()
}

fn heads(train: &[Labelled], dev: &[Labelled]) -> Vec<Guess> {
    let width = train[0].embedding.len();
    let features = DMatrix::from_fn(train.len(), width + 1, |row, column| {
        train[row].embedding.get(column).copied().unwrap_or(1.0)
    });
    let fit = |error: fn(&Labelled) -> f64| {
        let targets: Vec<f64> = train.iter().map(error).collect();
        logistic::fit(&features, &targets, &vec![0.0; train.len()], 1.0).expect("it can be solved")
    };
    let (weak, strong) = (
        fit(|prompt| prompt.weak_error),
        fit(|prompt| prompt.strong_error),
    );
    let error = |head: &logistic::Fitted, prompt: &Labelled| {
        let products = head.weights.iter().zip(&prompt.embedding);
        let logit: f64 = products
            .map(|(weight, &value)| weight * f64::from(value))
            .sum();
        logistic::sigmoid(logit + head.bias)
    };
    let guess = |prompt: &Labelled| Guess {
        weak: error(&weak, prompt),
        strong: error(&strong, prompt),
    };
    dev.iter().map(guess).collect()
}
