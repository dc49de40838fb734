//! Chooses the model that is good enough for a prompt, at the least cost.
//!
//! A prompt is a [`Point`]: an embedding and, if known, its text. A [`Pack`] holds the learned
//! state: semantic clusters, and for each model a profile of its error rates. [`Pack::assess`]
//! estimates each model's error for a point, [`decide()`] weighs the estimates against cost and
//! latency. [`fit`] fits a pack to labelled outcomes, and [`quality`] measures its quality.
//!
//! The decision rule is UniRoute's (Jitkrittum et al. 2025): the model that minimizes expected
//! error plus λ times cost, with the error read from the point's cluster. A fitted pack adds a head
//! to each profile: a calibrated logistic regression on kernel features of the embedding, which
//! starts at the cluster's rate and departs from it if the outcomes support that.

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
pub use decide::{Candidate, Decision, Weights, decide};
pub use matrix::Matrix;
pub use outcome::Outcome;
pub use pack::{Pack, PackError};
pub use point::Point;
pub use profile::Profile;
