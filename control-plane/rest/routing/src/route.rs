//! `POST /v1/route`: returns the router's choice without calling a model. The gateway serves the
//! same endpoint.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa_axum::routes;

use opentracy_rest::endpoints::{Callers, Endpoints};
use opentracy_routing::explain::{self, RouteExplanation, RouteRequest};
use opentracy_state::AppState;

/// Registers the endpoints of this file.
pub fn endpoints() -> Endpoints {
    Endpoints::of(Callers::Users).routes(routes!(route))
}

/// Returns the router's choice for a prompt.
#[utoipa::path(
    post,
    path = "/v1/route",
    request_body = RouteRequest,
    responses(
        (status = OK, body = RouteExplanation),
        (status = BAD_REQUEST, description = "The question is invalid"),
        (status = SERVICE_UNAVAILABLE, description = "The router can't decide")
    )
)]
pub async fn route(State(shared): State<AppState>, body: Bytes) -> Response {
    let snapshot = Arc::clone(&shared.snapshot.borrow());
    let (status, body) = explain::answer(&shared.router, &snapshot, &shared.live, &body).await;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
