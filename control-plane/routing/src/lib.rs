//! The model router: chooses the model that suits a prompt.
//!
//! [`service`] makes decisions with the active pack, [`embed`] turns prompts into vectors,
//! [`library`] stores packs on disk, and [`candidates`] collects facts about the models to choose
//! from. [`prior`] makes the default pack, [`learn`] makes better packs from outcomes, [`replay`]
//! estimates the choices that a pack would have made for past calls, and [`explain`] gives the
//! reasons for a choice.

pub mod candidates;
pub mod command;
pub mod drift;
pub mod embed;
pub mod explain;
pub mod learn;
pub mod library;
pub mod prior;
pub mod replay;
pub mod service;

pub use service::{About, Answer, Question, Router, RoutingError};
