//! Which model is good enough for a prompt, at what price.
//!
//! A prompt is a [`Point`]: an embedding and, where there is one, its text. A [`Pack`] holds what was learned: semantic
//! clusters, and for each model a profile of how often it errs. [`Pack::assess`] estimates each model's error for a
//! point, [`decide()`] weighs the estimates against cost and latency. [`fit`] learns a pack from labelled outcomes and
//! [`quality`] says what it is worth.
//!
//! The decision is UniRoute's (Jitkrittum et al. 2025): the model that minimises expected error plus λ times cost, with
//! the error read from the point's cluster. A fitted pack adds a head to each profile, a calibrated logistic regression on
//! kernel features of the embedding, which begins at the cluster's figure and departs from it where outcomes say so.

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
pub mod profile;
pub mod quality;
pub mod replay;
pub mod surface;

pub use assess::{Assessment, Estimate, Point};
pub use decide::{Candidate, Decision, Weights, decide};
pub use matrix::Matrix;
pub use outcome::Outcome;
pub use pack::{Pack, PackError};
pub use profile::Profile;
