//! Credentials that expire, and have to be fetched rather than read from a file.
//!
//! A background task fetches them for every provider that needs some, and renews them before they
//! expire. The filter receives them with the configuration.

mod aws;
mod google;
mod renewal;
mod resolved;

pub use renewal::start;
