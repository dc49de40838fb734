//! The REST API, with one file per resource.

pub mod a2a;
mod access;
mod agents;
mod analytics;
mod audit;
mod demo;
mod error;
mod export;
mod feedback;
mod fits;
pub mod health;
mod import;
mod json;
mod keys;
mod lines;
pub mod models;
mod packs;
mod params;
mod pprof;
mod replay;
mod request_id;
pub mod route;
mod secrets;
pub mod server;
mod telemetry;
mod timeline;
mod traces;

use axum::Json;
use axum::Router;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::AppState;

#[derive(OpenApi)]
#[openapi(info(
    title = "OpenTracy",
    description = "The control plane of the OpenTracy gateway: traces, models, health."
))]
struct Document;

/// Builds all routes, and their description at `/openapi.json`.
pub fn router(shared: AppState) -> Router {
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::health))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(models::list))
        .routes(routes!(models::get))
        .routes(routes!(traces::list, traces::import, traces::delete))
        .routes(routes!(export::export))
        .routes(routes!(traces::reprice))
        .routes(routes!(audit::list))
        .routes(routes!(telemetry::metrics))
        .routes(routes!(telemetry::statsz))
        .routes(routes!(secrets::list))
        .routes(routes!(secrets::set, secrets::remove))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::replace, keys::update, keys::revoke))
        .routes(routes!(keys::rotate))
        .routes(routes!(traces::get))
        .routes(routes!(analytics::summary))
        .routes(routes!(analytics::time_series))
        .routes(routes!(route::route))
        .routes(routes!(packs::status))
        .routes(routes!(packs::list))
        .routes(routes!(packs::get))
        .routes(routes!(packs::activate))
        .routes(routes!(packs::roll_back))
        .routes(routes!(fits::begin, fits::list))
        .routes(routes!(fits::get))
        .routes(routes!(replay::replay))
        .routes(routes!(feedback::give))
        .routes(routes!(demo::chat_completions))
        .routes(routes!(agents::chat_completions))
        .routes(routes!(pprof::profile))
        .routes(routes!(pprof::flamegraph))
        .routes(routes!(pprof::heap))
        .routes(routes!(a2a::call))
        .routes(routes!(a2a::call_agent))
        .routes(routes!(a2a::card))
        .routes(routes!(a2a::card_of_agent))
        .split_for_parts();
    let document = describe(document);
    router
        .route("/openapi.json", get(|| async { Json(document) }))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(
            shared.clone(),
            access::layer,
        ))
        .layer(axum::middleware::from_fn(request_id::layer))
        .with_state(shared)
}

/// Returns the OpenAPI document with two corrections: axum's wildcard syntax is not OpenAPI's, and
/// the `additionalProperties` of a flattened object would reject the fields next to it.
fn describe(document: utoipa::openapi::OpenApi) -> serde_json::Value {
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
