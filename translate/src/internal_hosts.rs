//! Authorities of requests that the filter sends on. Envoy's routes tell by them where a request goes.
//!
//! A client's request with one of them is refused by the filter, which every such virtual host must enable.

/// A request with a plan of several candidates, on its way to the internal listener, where Envoy counts the attempts.
pub const PLANNED_AUTHORITY: &str = "opentracy-internal";
/// A request on its way to the one cluster that it names.
pub const DIRECT_AUTHORITY: &str = "opentracy-direct";

/// Returns whether a request with this authority can only come from the filter.
pub fn is_internal(authority: &str) -> bool {
    let host = authority.split(':').next().unwrap_or_default();
    host.eq_ignore_ascii_case(PLANNED_AUTHORITY) || host.eq_ignore_ascii_case(DIRECT_AUTHORITY)
}
