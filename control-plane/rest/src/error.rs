//! Errors in OpenAI's format, like the gateway's.

use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use opentracy_translate::error::ApiError;

use opentracy_ingest::journal::JournalError;
use opentracy_routing::library::LibraryError;
use opentracy_store::StoreError;

/// The error type of all handlers.
#[derive(Debug)]
pub struct Error(pub ApiError);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = [(header::CONTENT_TYPE, "application/json")];
        (status, headers, self.0.to_json()).into_response()
    }
}

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl From<JournalError> for Error {
    fn from(error: JournalError) -> Self {
        Self(ApiError::new(
            503,
            format!("Traces can't be accepted at the moment: {error}"),
        ))
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        tracing::error!("{error}");
        Self(ApiError::new(
            503,
            "The trace store does not answer; see the control plane's log",
        ))
    }
}

impl From<LibraryError> for Error {
    fn from(error: LibraryError) -> Self {
        let status = match &error {
            LibraryError::Unknown(_) => 404,
            LibraryError::NoPrevious | LibraryError::OtherEmbedder { .. } => 409,
            LibraryError::Pack(_) => 422,
            LibraryError::Folder { .. } => 500,
        };
        Self(ApiError::new(status, error.to_string()))
    }
}

pub async fn not_found(uri: Uri) -> Error {
    Error(ApiError::new(
        404,
        format!("Not found: {}; /openapi.json lists all paths", uri.path()),
    ))
}

pub async fn method_not_allowed(method: Method, uri: Uri) -> Error {
    Error(ApiError::new(
        405,
        format!("{} does not support {method}", uri.path()),
    ))
}
