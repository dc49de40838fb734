//! REST, for people and their tools. One file a resource.

mod demo;
mod error;
mod health;
mod models;
mod traces;

use axum::Json;
use axum::Router;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::serve::Shared;

#[derive(OpenApi)]
#[openapi(info(
    title = "OpenTracy",
    description = "The control plane of the OpenTracy gateway: traces, models, health."
))]
struct Document;

/// All routes, and their description at `/openapi.json`.
pub fn router(shared: Shared) -> Router {
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::health))
        .routes(routes!(models::list))
        .routes(routes!(models::get))
        .routes(routes!(traces::list))
        .routes(routes!(traces::get))
        .routes(routes!(demo::chat_completions))
        .split_for_parts();
    router
        .route("/openapi.json", get(|| async { Json(document) }))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .with_state(shared)
}
