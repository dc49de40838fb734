//! The ground that the crates of the REST API share.
//!
//! Each crate beside `src` holds the handlers of some resources, and lists them as [`endpoints`].
//! [`routes`] makes a router of them, in which [`access`] authenticates callers and [`request_id`]
//! names requests. [`params`], [`json`] and [`lines`] read queries and bodies, [`error`] is the
//! answer to those that can't be served, and [`audit_entry`] records actions.

pub mod access;
pub mod audit_entry;
pub mod endpoints;
pub mod error;
pub mod json;
pub mod lines;
pub mod params;
pub mod request_id;
pub mod routes;
