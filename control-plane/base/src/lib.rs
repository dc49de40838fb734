//! The ground that the crates of the control plane share.
//!
//! [`clock`] tells the time, [`health`] holds the current faults, [`http`] builds HTTP clients,
//! [`worker_thread`] runs work in the background, and [`secure_fs`] writes files that only their
//! owner can read.

pub mod clock;
pub mod health;
pub mod http;
pub mod secure_fs;
pub mod worker_thread;
