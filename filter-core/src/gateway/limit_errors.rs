//! The errors for requests over a limit.

use opentracy_proto::limit_kinds;
use opentracy_proto::v1::Owner;
use opentracy_translate::error::ApiError;

use crate::gateway::charge::Charge;

/// Returns the error for a limit that is used up.
pub fn exhausted(charge: &Charge, retry_after: u64) -> ApiError {
    let kind = charge.bucket.kind();
    let message = format!(
        "The {} has reached its limit of {} {}. Try again in {retry_after} s",
        owner(charge),
        charge.limit,
        kind.noun()
    );
    ApiError {
        retry_after: Some(retry_after),
        ..ApiError::new(429, message).with_code(kind.error_code)
    }
}

/// Returns the error for a charge over the whole limit, for which waiting doesn't help.
pub fn too_large(charge: &Charge) -> ApiError {
    let (kind, owner) = (charge.bucket.kind(), owner(charge));
    let message = if kind.measure.is_estimated() {
        format!(
            "The request is about {} {}, more than the {owner} may use {} ({}). Send less, or lower the maximum length of the answer",
            charge.units,
            kind.measure.noun(),
            kind.window.map_or("at once", |window| window.phrase),
            charge.limit
        )
    } else {
        format!(
            "The {owner} has a limit of {} {}, so it can't be used",
            charge.limit,
            kind.noun()
        )
    };
    ApiError::new(429, message).with_code(kind.error_code)
}

/// Returns the error for limits that can't be checked.
pub fn unavailable() -> ApiError {
    let words =
        "The gateway can't check the call's limits: its control plane does not answer. Try again";
    ApiError::new(503, words).with_code(limit_kinds::UNAVAILABLE_CODE)
}

/// Returns the owner of a limit for messages, such as `key "team"`.
fn owner(charge: &Charge) -> String {
    let owner = match charge.bucket.owner {
        Owner::Key => "key",
        Owner::Alias => "alias",
        Owner::Model => "model",
    };
    format!("{owner} \"{}\"", charge.bucket.name)
}
