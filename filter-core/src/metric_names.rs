//! The names of the counters that end in a reason.
//!
//! A host whose Envoy wants all metrics before the first request defines them from here.

use std::collections::BTreeSet;

use opentracy_proto::limit_kinds::{self, LimitKind};
use opentracy_translate::access::Denial;
use opentracy_translate::request_origin;

const DENIED: &str = "opentracy.gateway.denied.";
const LIMITED: &str = "opentracy.gateway.limited.";

/// Returns the name of the counter of requests that were denied for this reason.
pub fn denied(reason: &str) -> String {
    [DENIED, reason].concat()
}

/// Returns the name of the counter of requests that a limit refused with this error code.
pub fn limited(code: &str) -> String {
    [LIMITED, code].concat()
}

/// Returns the names of all counters that end in a reason.
pub fn of_all_reasons() -> BTreeSet<String> {
    let denials = Denial::WORDS.into_iter().chain(request_origin::CODES);
    let limits = LimitKind::all().map(|kind| kind.error_code);
    let limits = limits.chain([limit_kinds::UNAVAILABLE_CODE]);
    denials.map(denied).chain(limits.map(limited)).collect()
}

/// Returns whether a counter's name ends in a reason.
#[cfg(test)]
pub fn ends_in_a_reason(name: &str) -> bool {
    name.starts_with(DENIED) || name.starts_with(LIMITED)
}
