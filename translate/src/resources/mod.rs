//! Objects that a provider stores, such as files and batches: the ids in paths, bodies and answers.
//!
//! One provider account serves all callers of a gateway, so each id has an owner. [`path`] parses
//! the ids in a URL, [`ids`] those in a body, [`list`] the pages of a list.

pub mod ids;
pub mod list;
pub mod path;

use crate::endpoint::Endpoint;
use crate::error::ApiError;

/// Returns the error for an id that isn't the caller's, the same whether or not the object exists.
pub fn not_found(id: &str) -> ApiError {
    let message = format!("No object with the id \"{id}\" was found");
    ApiError {
        param: Some("id".into()),
        ..ApiError::new(404, message).with_code("resource_not_found")
    }
}

/// Returns the largest page size that every provider of the endpoint accepts.
pub fn max_page(endpoint: Endpoint) -> usize {
    match endpoint {
        Endpoint::Files => 1000,
        _ => 100,
    }
}
