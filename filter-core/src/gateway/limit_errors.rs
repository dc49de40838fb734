//! The errors for requests over a limit.

use opentracy_proto::v1::{Owner, Unit};
use opentracy_translate::error::ApiError;

use crate::gateway::charge::Charge;

/// Returns the error for a limit that is used up.
pub fn exhausted(charge: &Charge, retry_after: u64) -> ApiError {
    let (kind, name) = (kind(charge.bucket.owner), &charge.bucket.name);
    let (what, code) = describe(charge.bucket.unit);
    let message = format!(
        "The {kind} \"{name}\" has reached its limit of {} {what}. Try again in {retry_after} s",
        charge.limit
    );
    ApiError {
        retry_after: Some(retry_after),
        ..ApiError::new(429, message).with_code(code)
    }
}

/// Returns the error for a charge over the whole limit, for which waiting doesn't help.
pub fn too_large(charge: &Charge) -> ApiError {
    let (kind, name) = (kind(charge.bucket.owner), &charge.bucket.name);
    let (what, code) = describe(charge.bucket.unit);
    let message = match charge.bucket.unit {
        Unit::Tokens => format!(
            "The request is about {} tokens, more than the {kind} \"{name}\" may use in a minute ({}). Send less, or lower the maximum length of the answer",
            charge.units, charge.limit
        ),
        Unit::Requests | Unit::Concurrent => format!(
            "The {kind} \"{name}\" has a limit of {} {what}, so it can't be used",
            charge.limit
        ),
    };
    ApiError::new(429, message).with_code(code)
}

/// Returns the error for limits that can't be checked.
pub fn unavailable() -> ApiError {
    let words =
        "The gateway can't check the call's limits: its control plane does not answer. Try again";
    ApiError::new(503, words).with_code("limits_unavailable")
}

/// Returns the name of a unit for messages, and the code of an error about it.
const fn describe(unit: Unit) -> (&'static str, &'static str) {
    match unit {
        Unit::Requests => ("requests per minute", "rate_limit_exceeded"),
        Unit::Tokens => ("tokens per minute", "rate_limit_exceeded"),
        Unit::Concurrent => ("concurrent requests", "concurrency_limit_exceeded"),
    }
}

const fn kind(owner: Owner) -> &'static str {
    match owner {
        Owner::Key => "key",
        Owner::Alias => "alias",
        Owner::Model => "model",
    }
}
