//! Objects that a provider stores, such as files and batches: the ids in paths, bodies and answers.
//!
//! One provider account serves all callers of a gateway, so each id has an owner. [`path`] reads the ids of a URL,
//! [`ids`] those of a body, [`list`] the pages of a list.

pub mod ids;
pub mod list;
pub mod path;

use crate::endpoint::Endpoint;
use crate::error::ApiError;

/// Returns the error for an id that the caller has no object of, whether or not somebody else has.
pub fn not_found(id: &str) -> ApiError {
    let message = format!("There is no object with the id \"{id}\"");
    ApiError {
        param: Some("id".into()),
        ..ApiError::new(404, message).with_code("resource_not_found")
    }
}

/// Returns the largest page of a list that every provider of the endpoint accepts.
pub fn max_page(endpoint: Endpoint) -> usize {
    match endpoint {
        Endpoint::Files => 1000,
        _ => 100,
    }
}
