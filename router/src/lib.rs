//! Chooses the model that is good enough for a prompt, at the least cost.
//!
//! A prompt is a [`Point`]: an embedding and, if known, its text. A [`Pack`] holds the learned
//! state: semantic clusters, and for each model a profile of its error rates. [`Pack::assess`]
//! estimates each model's error for a point, [`decide()`] weighs the estimates against cost and
//! latency. [`fit`] fits a pack to labeled outcomes, and [`quality`] measures its quality.
//!
//! The decision rule is UniRoute's (Jitkrittum et al. 2025): the model that minimizes expected
//! error plus λ times cost, with the error read from the point's cluster. A fitted pack adds a head
//! to each profile: a calibrated logistic regression on kernel features of the embedding, which
//! starts at the cluster's rate and departs from it if the outcomes support that.
//!
//! # Example
//!
//! Fits a pack to outcomes and asks it for a model. The embeddings are made up; in an application
//! they come from an embedding model.
//!
//! ```
//! use opentracy_router::fit::{self, Training};
//! use opentracy_router::pack::EmbeddingModel;
//! use opentracy_router::{Candidate, LabeledOutcome, Point, Weights, decide};
//!
//! // The small model fails at every second kind of prompt, the large one at none.
//! let embedding = |is_hard: bool, number: usize| {
//!     let (sin, cos) = (number as f32 / 200.0).sin_cos();
//!     if is_hard { vec![cos, sin, 0.0, 0.0] } else { vec![0.0, 0.0, cos, sin] }
//! };
//! let mut outcomes = Vec::new();
//! let mut embeddings = Vec::new();
//! for number in 0..200 {
//!     let is_hard = number % 2 == 0;
//!     embeddings.push(embedding(is_hard, number));
//!     for (model, error) in [("a/small", f64::from(is_hard)), ("a/large", 0.0)] {
//!         outcomes.push(LabeledOutcome {
//!             prompt: format!("prompt {number}"),
//!             model: model.to_owned(),
//!             error,
//!         });
//!     }
//! }
//! let training = Training::collect(outcomes).with_embeddings(embeddings);
//! let pack = fit::fit(
//!     &training,
//!     &fit::FitOptions {
//!         embedder: EmbeddingModel { model: "made up".to_owned(), dimensions: 4 },
//!         clusters: 2,
//!         seed: 1,
//!         description: "an example".to_owned(),
//!         source: "made up".to_owned(),
//!         now: "2026-11-26T00:00:00Z".to_owned(),
//!     },
//! )?;
//!
//! // The large model costs ten times as much.
//! let models = [("a/small", 0.001), ("a/large", 0.01)];
//! let candidates = models.map(|(model, cost)| Candidate {
//!     profile: pack.profile_of(model),
//!     cost: Some(cost),
//!     latency: None,
//! });
//! let weights = Weights { cost: 0.2, latency: 0.0, exploration: 0.0 };
//! let choose = |is_hard| {
//!     let embedding = embedding(is_hard, 7);
//!     let point = Point { embedding: &embedding, text: None };
//!     let assessment = pack.assess(&point).unwrap();
//!     models[decide(&assessment, &candidates, &weights, || 0.0).order[0]].0
//! };
//! assert_eq!(choose(true), "a/large");
//! assert_eq!(choose(false), "a/small");
//! # Ok::<(), fit::FitError>(())
//! ```

pub mod assess;
pub mod basis;
pub mod clusters;
pub mod decide;
pub mod fit;
pub mod kmeans;
pub mod logistic;
pub mod matrix;
pub mod outcome;
pub mod pack;
pub mod point;
pub mod profile;
pub mod quality;
pub mod replay;
pub mod surface;

pub use assess::{Assessment, Estimate};
pub use decide::{Candidate, Ranking, Weights, decide};
pub use matrix::Matrix;
pub use outcome::LabeledOutcome;
pub use pack::{Pack, PackError};
pub use point::Point;
pub use profile::Profile;
