//! Limits: the leases of the control plane, and life without it.

mod alone;
mod concurrency;
mod kinds;
mod requests;
mod restart;
mod tokens;
pub(super) mod world;
