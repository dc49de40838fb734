//! Fits a pack to labeled outcomes.

use std::collections::{BTreeMap, HashMap};

use nalgebra::DMatrix;

use crate::basis::Basis;
use crate::clusters::{Assignment, Clusters, Membership};
use crate::kmeans;
use crate::logistic::{self, logit, sigmoid};
use crate::matrix::Matrix;
use crate::outcome::LabeledOutcome;
use crate::pack::{EmbeddingModel, Pack, PackKind, PackMetadata};
use crate::point::Point;
use crate::profile::{Head, Profile};
use crate::quality::Calibration;

/// Shrinkage: a cluster's rate is drawn to the model's mean as if this many outcomes had it.
const STRENGTH: f64 = 20.0;
/// Temperature of the soft assignment.
const TEMPERATURE: f32 = 0.1;
/// L2 penalty on a head's weights.
const PENALTY: f64 = 1.0;
/// Minimum number of outcomes for a head.
const LEAST_FOR_HEAD: usize = 50;
/// Cross-validation folds: calibration is measured on prompts that the head was not fitted on.
const FOLDS: usize = 5;
/// Share of the fitted points that counts as far from the fitted data.
const FAR_SHARE: f64 = 0.01;
/// Default number of clusters.
pub const CLUSTERS: usize = 100;

/// Outcomes, with the embeddings of their prompts.
#[derive(Debug, Clone, Default)]
pub struct Training {
    /// Distinct prompts; outcomes refer to them by index.
    prompts: Vec<String>,
    embeddings: Vec<Vec<f32>>,
    by_model: BTreeMap<String, Vec<(usize, f64)>>,
}

/// The reason why no pack can be fitted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FitError {
    #[error("there are outcomes for {0} prompts; at least {LEAST_PROMPTS} are needed")]
    TooFew(usize),
    #[error("embeddings must have the same length and finite values")]
    Embeddings,
    #[error(
        "the outcomes come from another embedder: they have {found} dimensions, the pack has {expected}"
    )]
    Dimensions { found: usize, expected: usize },
}

/// Minimum number of prompts; fewer can't be clustered.
pub const LEAST_PROMPTS: usize = 20;

impl Training {
    /// Collects outcomes whose prompts are yet to be embedded.
    pub fn collect(outcomes: impl IntoIterator<Item = LabeledOutcome>) -> Self {
        let mut training = Self::default();
        let mut places = HashMap::new();
        for outcome in outcomes {
            let next = training.prompts.len();
            let place = *places.entry(outcome.prompt.clone()).or_insert(next);
            if place == next {
                training.prompts.push(outcome.prompt);
            }
            let error = outcome.error.clamp(0.0, 1.0);
            let of_model = training.by_model.entry(outcome.model).or_default();
            of_model.push((place, error));
        }
        training
    }

    /// Adds one embedding for each of [`prompts`](Self::prompts), in their order.
    pub fn with_embeddings(mut self, embeddings: Vec<Vec<f32>>) -> Self {
        self.embeddings = embeddings;
        self
    }

    /// Distinct prompts, in the order of their first outcomes.
    pub fn prompts(&self) -> &[String] {
        &self.prompts
    }

    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.by_model.keys().map(String::as_str)
    }

    fn points(&self) -> Vec<Point<'_>> {
        let pairs = self.embeddings.iter().zip(&self.prompts);
        pairs
            .map(|(embedding, prompt)| Point {
                embedding,
                text: Some(prompt),
            })
            .collect()
    }

    fn check(&self, dimensions: usize) -> Result<(), FitError> {
        if self.prompts.len() < LEAST_PROMPTS {
            return Err(FitError::TooFew(self.prompts.len()));
        }
        let is_sound =
            |row: &Vec<f32>| row.len() == dimensions && row.iter().all(|value| value.is_finite());
        let are_all = self.embeddings.len() == self.prompts.len();
        match are_all && self.embeddings.iter().all(is_sound) {
            true => Ok(()),
            false => Err(FitError::Embeddings),
        }
    }
}

/// Settings of a fit.
#[derive(Debug, Clone)]
pub struct FitOptions {
    pub embedder: EmbeddingModel,
    /// Maximum number of clusters; lowered if there are fewer than two prompts per cluster.
    pub clusters: usize,
    pub seed: u64,
    pub description: String,
    /// Source of the outcomes, recorded in every profile.
    pub source: String,
    /// RFC 3339 timestamp.
    pub now: String,
}

/// Fits a new pack: clusters, basis, and a profile for each model.
pub fn fit(training: &Training, options: &FitOptions) -> Result<Pack, FitError> {
    let dimensions = options.embedder.dimensions;
    training.check(dimensions)?;
    let points = training.points();
    let embeddings = training.embeddings.iter().map(Vec::as_slice);
    let embeddings = Matrix::from_rows(dimensions, embeddings);
    let count = options.clusters.min(points.len() / 2).max(1);
    let centroids = kmeans::centroids(&embeddings, count, options.seed);
    let assignment = Assignment::Soft {
        temperature: TEMPERATURE,
    };
    let clusters = Clusters::new(centroids, assignment, -1.0).ok_or(FitError::Embeddings)?;
    let far_below = far_below(&clusters, &points);
    let clusters = Clusters::new(clusters.centroids().clone(), assignment, far_below)
        .ok_or(FitError::Embeddings)?;
    let basis = Basis::fit(&points, options.seed).ok_or(FitError::Embeddings)?;
    let space = Space::new(&clusters, &basis, &points);
    let mut calibration = BTreeMap::new();
    let mut profiles = Vec::new();
    for (model, outcomes) in &training.by_model {
        let (profile, measured) = space.profile(model, outcomes, options);
        calibration.extend(measured.map(|measured| (model.clone(), measured)));
        profiles.push(profile);
    }
    Ok(Pack {
        version: String::new(),
        metadata: PackMetadata {
            kind: PackKind::Fitted,
            description: options.description.clone(),
            created_at: options.now.clone(),
            embedder: options.embedder.clone(),
        },
        clusters,
        basis: Some(basis),
        profiles,
        calibration,
    })
}

/// Refits or adds the profiles of these models. Clusters, basis and all other profiles stay.
pub fn refit_models(
    pack: &Pack,
    training: &Training,
    options: &FitOptions,
) -> Result<Pack, FitError> {
    let expected = pack.clusters.dimensions();
    if let Some(found) = training.embeddings.first().map(Vec::len)
        && found != expected
    {
        return Err(FitError::Dimensions { found, expected });
    }
    training.check(expected)?;
    let points = training.points();
    let mut pack = pack.clone();
    pack.version = String::new();
    pack.metadata.created_at = options.now.clone();
    pack.metadata.description = options.description.clone();
    let space = match &pack.basis {
        Some(basis) => Space::new(&pack.clusters, basis, &points),
        None => Space::without_basis(&pack.clusters, &points),
    };
    for (model, outcomes) in &training.by_model {
        let (profile, measured) = space.profile(model, outcomes, options);
        pack.calibration.remove(model);
        pack.calibration
            .extend(measured.map(|measured| (model.clone(), measured)));
        pack.profiles.retain(|other| other.model != *model);
        pack.profiles.push(profile);
    }
    pack.profiles.sort_by(|a, b| a.model.cmp(&b.model));
    Ok(pack)
}

fn far_below(clusters: &Clusters, points: &[Point<'_>]) -> f32 {
    let similarity = |point: &Point<'_>| clusters.assign(point.embedding).similarity;
    let mut similarities: Vec<f32> = points.iter().map(similarity).collect();
    similarities.sort_by(f32::total_cmp);
    let place = (similarities.len() as f64 * FAR_SHARE) as usize;
    similarities.get(place).copied().unwrap_or(-1.0)
}

/// The part of a fit that doesn't depend on the model: where the prompts are.
struct Space {
    clusters: usize,
    memberships: Vec<Membership>,
    heads: Option<HeadSpace>,
}

struct HeadSpace {
    /// One row per prompt, in coordinates where the kernel is the dot product; the last column is
    /// ones.
    features: DMatrix<f32>,
    whitening: DMatrix<f64>,
}

impl Space {
    fn without_basis(clusters: &Clusters, points: &[Point<'_>]) -> Self {
        let assigned = points.iter().map(|point| clusters.assign(point.embedding));
        Self {
            clusters: clusters.len(),
            memberships: assigned.collect(),
            heads: None,
        }
    }

    fn new(clusters: &Clusters, basis: &Basis, points: &[Point<'_>]) -> Self {
        let whitening = basis.whitening();
        let kernel: Vec<f32> = points
            .iter()
            .flat_map(|point| basis.features(point))
            .collect();
        let kernel = DMatrix::from_row_slice(points.len(), basis.len(), &kernel);
        let mut features = kernel * whitening.clone().cast::<f32>();
        let columns = features.ncols();
        features = features.insert_column(columns, 1.0);
        Self {
            heads: Some(HeadSpace {
                features,
                whitening,
            }),
            ..Self::without_basis(clusters, points)
        }
    }

    fn profile(
        &self,
        model: &str,
        outcomes: &[(usize, f64)],
        options: &FitOptions,
    ) -> (Profile, Option<Calibration>) {
        let mut profile = self.counted(model, outcomes, options);
        let heads = self.heads.as_ref();
        let heads = heads.filter(|_| outcomes.len() >= LEAST_FOR_HEAD);
        let Some(heads) = heads else {
            return (profile, None);
        };
        let measured = self.measure(heads, outcomes, options);
        profile.head = self.head(heads, &profile, outcomes);
        (profile, measured)
    }

    /// Builds the profile from cluster rates alone.
    fn counted(&self, model: &str, outcomes: &[(usize, f64)], options: &FitOptions) -> Profile {
        let mut wrong = vec![0.0; self.clusters];
        let mut counts = vec![0.0; self.clusters];
        for &(place, error) in outcomes {
            for &(cluster, share) in &self.memberships[place].probabilities {
                wrong[cluster as usize] += error * f64::from(share);
                counts[cluster as usize] += f64::from(share);
            }
        }
        let total = outcomes.iter().map(|(_, error)| error).sum::<f64>();
        let mean_error = total / outcomes.len().max(1) as f64;
        let rate = |(wrong, count): (&f64, &f64)| match *count > 0.0 {
            true => (wrong / count).clamp(0.0, 1.0),
            false => mean_error,
        };
        Profile {
            model: model.to_owned(),
            mean_error,
            errors: wrong.iter().zip(&counts).map(rate).collect(),
            counts,
            strength: STRENGTH,
            source: options.source.clone(),
            date: options.now.clone(),
            output_tokens: None,
            head: None,
        }
    }

    fn head(
        &self,
        heads: &HeadSpace,
        profile: &Profile,
        outcomes: &[(usize, f64)],
    ) -> Option<Head> {
        let fitted = self.solve(heads, profile, outcomes)?;
        let weights = &heads.whitening * nalgebra::DVector::from_vec(fitted.weights);
        Some(Head {
            weights: weights.iter().map(|&weight| weight as f32).collect(),
            bias: fitted.bias as f32,
        })
    }

    fn solve(
        &self,
        heads: &HeadSpace,
        profile: &Profile,
        outcomes: &[(usize, f64)],
    ) -> Option<logistic::Fitted> {
        let features = heads
            .features
            .select_rows(outcomes.iter().map(|(place, _)| place));
        let targets: Vec<f64> = outcomes.iter().map(|&(_, error)| error).collect();
        let offsets: Vec<f64> = outcomes
            .iter()
            .map(|&(place, error)| logit(without(profile, &self.memberships[place], error)))
            .collect();
        logistic::fit(&features, &targets, &offsets, PENALTY)
    }

    fn measure(
        &self,
        heads: &HeadSpace,
        outcomes: &[(usize, f64)],
        options: &FitOptions,
    ) -> Option<Calibration> {
        // Splits by prompt, not by outcome, so that a repeated prompt is on one side only.
        let mut random = fastrand::Rng::with_seed(options.seed);
        let folds: Vec<usize> = self
            .memberships
            .iter()
            .map(|_| random.usize(..FOLDS))
            .collect();
        let mut pairs = Vec::with_capacity(outcomes.len());
        for fold in 0..FOLDS {
            let (held, kept): (Vec<_>, Vec<_>) = outcomes
                .iter()
                .partition(|(place, _)| folds[*place] == fold);
            let profile = self.counted("", &kept, options);
            let fitted = self.solve(heads, &profile, &kept)?;
            let mut weights = fitted.weights;
            weights.push(fitted.bias);
            for (place, error) in held {
                let row = heads.features.row(place);
                let products = row
                    .iter()
                    .zip(&weights)
                    .map(|(&value, weight)| f64::from(value) * weight);
                let shift: f64 = products.sum();
                let prior = logit(profile.prior_error(&self.memberships[place]));
                pairs.push((sigmoid(prior + shift), error));
            }
        }
        Some(Calibration::measure(&pairs))
    }
}

/// Returns the clusters' rate for a point without its own outcome: a head fitted on rates that
/// include the answer would trust them too much.
fn without(profile: &Profile, membership: &Membership, error: f64) -> f64 {
    let shares = membership.probabilities.iter();
    let of_cluster = |&(cluster, share): &(u32, f32)| {
        let (index, share) = (cluster as usize, f64::from(share));
        let (rate, count) = (profile.errors[index], profile.counts[index]);
        let wrong = (rate * count - error * share).max(0.0);
        let count = (count - share).max(0.0);
        share * (wrong + profile.mean_error * profile.strength) / (count + profile.strength)
    };
    shares.map(of_cluster).sum()
}
