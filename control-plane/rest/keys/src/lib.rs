//! Client keys, keys of providers, and the audit.

mod audit;
mod keys;
mod secrets;

use opentracy_rest::endpoints::Endpoints;

/// All endpoints; each file registers its own.
pub const ENDPOINTS: &[fn() -> Endpoints] =
    &[secrets::endpoints, keys::endpoints, audit::endpoints];
