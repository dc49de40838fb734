//! `GET /v1/traces`.

use axum::Json;
use axum::extract::{Path, Query, State};
use opentracy_translate::error::ApiError;

use crate::rest::error::Error;
use crate::serve::Shared;
use crate::store::{self, Page, Trace};

/// The traces that all filters fit, newest first. `metadata.NAME=VALUE` filters by the request's own metadata.
#[utoipa::path(
    get,
    path = "/v1/traces",
    params(store::Params),
    responses((status = OK, body = Page), (status = BAD_REQUEST, description = "A filter that can't be read"))
)]
pub async fn list(
    State(shared): State<Shared>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Page>, Error> {
    let query = store::Query::from_pairs(pairs)?;
    Ok(Json(shared.store.list(query).await?))
}

/// One trace, by the id in the response header `X-OpenTracy-Trace-Id`.
#[utoipa::path(
    get,
    path = "/v1/traces/{id}",
    params(("id" = String, Path, description = "The trace's id")),
    responses((status = OK, body = Trace), (status = NOT_FOUND, description = "No such trace"))
)]
pub async fn get(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Trace>, Error> {
    match shared.store.get(id.clone()).await? {
        Some(trace) => Ok(Json(trace)),
        None => Err(ApiError::new(
            404,
            format!(
                "There is no trace \"{id}\". A new one is here within a second of its answer's end"
            ),
        )
        .into()),
    }
}
