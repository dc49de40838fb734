//! Authorities of requests that the filter sends on. Envoy's routes use them to pick the
//! destination.
//!
//! The filter rejects client requests that carry one of them; every virtual host with such an
//! authority must enable the filter.

/// Request with a plan of several candidates, on its way to the internal listener, where Envoy
/// counts the attempts.
pub const PLANNED_AUTHORITY: &str = "opentracy-internal";
/// Request on its way to the one cluster that it names.
pub const DIRECT_AUTHORITY: &str = "opentracy-direct";

/// Returns true if a request with this authority can only come from the filter.
pub fn is_internal(authority: &str) -> bool {
    let host = authority.split(':').next().unwrap_or_default();
    host.eq_ignore_ascii_case(PLANNED_AUTHORITY) || host.eq_ignore_ascii_case(DIRECT_AUTHORITY)
}
