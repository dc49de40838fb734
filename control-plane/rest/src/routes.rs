//! The router of the REST API, with the layers of all requests.

use axum::routing::get;
use axum::{Json, Router};
use utoipa::OpenApi;

use crate::access::Guard;
use crate::endpoints::Endpoints;
use crate::{access, error, request_id};
use opentracy_state::AppState;

#[derive(OpenApi)]
#[openapi(info(
    title = "OpenTracy",
    description = "The control plane of the OpenTracy gateway: traces, models, health."
))]
struct Document;

/// Builds the routes of these endpoints, and their description at `/openapi.json`.
pub fn router(shared: AppState, endpoints: Endpoints) -> Router {
    let Endpoints {
        routes, policies, ..
    } = endpoints;
    let (router, paths) = routes.split_for_parts();
    let document = describe(paths);
    let guard = Guard::new(shared.clone(), policies);
    router
        .route("/openapi.json", get(|| async { Json(document) }))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(guard, access::layer))
        .layer(axum::middleware::from_fn(request_id::layer))
        .with_state(shared)
}

/// Returns the OpenAPI document of the paths with two corrections: axum's wildcard syntax is not
/// OpenAPI's, and the `additionalProperties` of a flattened object would reject the fields next to
/// it.
fn describe(paths: utoipa::openapi::OpenApi) -> serde_json::Value {
    let mut document = Document::openapi();
    document.merge(paths);
    let mut document = serde_json::to_value(document).unwrap_or_default();
    if let Some(paths) = document["paths"].as_object_mut() {
        *paths = std::mem::take(paths)
            .into_iter()
            .map(|(path, operations)| (path.replace("{*", "{"), operations))
            .collect();
    }
    if let Some(terms) = document["components"]["schemas"]["Terms"].as_object_mut() {
        terms.remove("additionalProperties");
    }
    document
}
