//! Which model suits a prompt: the router's library brought to life.
//!
//! [`service`] answers questions with the pack that is in force, [`embed`] gives it vectors, [`library`] keeps packs on disk,
//! [`candidates`] says what is known of the models that may be chosen. [`prior`] makes the pack that everyone begins with,
//! [`learn`] makes better ones of outcomes, and [`replay`] says what one would have done.

pub mod candidates;
pub mod command;
pub mod drift;
pub mod embed;
pub mod learn;
pub mod library;
pub mod prior;
pub mod replay;
pub mod service;

pub use service::{About, Answer, Question, Router, Undecided};
