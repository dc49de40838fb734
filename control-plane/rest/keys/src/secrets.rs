//! `/v1/secrets`: provider keys that are set over the API. No endpoint returns their values.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use opentracy_translate::error::ApiError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use opentracy_config::secrets::{SecretDescription, Vault};
use opentracy_rest::audit_entry;
use opentracy_rest::endpoints::{Callers, Endpoints};
use opentracy_rest::error::Error;
use opentracy_state::AppState;
use opentracy_store::{Actor, AuditEntry};

/// Registers the endpoints of this file.
pub fn endpoints() -> Endpoints {
    Endpoints::of(Callers::Admins)
        .routes(routes!(list))
        .routes(routes!(set, remove))
}

const MAX_BYTES: usize = 16 << 10;

#[derive(Serialize, ToSchema)]
pub struct Secrets {
    data: Vec<Secret>,
}

#[derive(Serialize, ToSchema)]
pub struct Secret {
    /// The provider's environment variable in lower case, such as `openai_api_key`.
    name: String,
    /// Changes with the secret, and reveals nothing about it.
    fingerprint: String,
    /// RFC 3339, UTC.
    updated_at: String,
}

/// The value of a secret.
// Has no `Debug`, so that it can't be logged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[serde(expecting = "struct Value")]
pub struct SecretValue {
    /// The secret.
    value: String,
}

/// Lists the stored secrets, without their values.
#[utoipa::path(get, path = "/v1/secrets", responses((status = OK, body = Secrets)))]
pub async fn list(State(shared): State<AppState>) -> Result<Json<Secrets>, Error> {
    let secrets = with_vault(&shared, |vault| vault.list()).await?;
    Ok(Json(Secrets {
        data: secrets.into_iter().map(Secret::from).collect(),
    }))
}

/// Sets or replaces a secret. The filter uses it within two seconds.
#[utoipa::path(
    put,
    path = "/v1/secrets/{name}",
    params(("name" = String, Path, description = "The provider's variable in lower case, such as `openai_api_key`")),
    request_body = SecretValue,
    responses((status = OK, body = Secret), (status = BAD_REQUEST, description = "Invalid name or value"))
)]
pub async fn set(
    State(shared): State<AppState>,
    Extension(by): Extension<Actor>,
    Path(name): Path<String>,
    body: String,
) -> Result<Json<Secret>, Error> {
    check_name(&name)?;
    // The parser's own message could quote the secret.
    let SecretValue { value } = serde_json::from_str(&body)
        .map_err(|_| ApiError::invalid(String::new(), "Send a JSON object: {\"value\": \"…\"}"))?;
    let value = value.trim().to_owned();
    if value.is_empty() || value.len() > MAX_BYTES || value.chars().any(char::is_control) {
        let words = "`value` must be one line of text";
        return Err(ApiError::invalid("value", words).into());
    }
    let named = name.clone();
    let secret = with_vault(&shared, move |vault| vault.set(&named, &value)).await?;
    audit_entry::note(&shared, AuditEntry::new("secret.set", by, &*name, 0)).await;
    Ok(Json(secret.into()))
}

/// Removes a secret. The secrets file and the environment apply again.
#[utoipa::path(
    delete,
    path = "/v1/secrets/{name}",
    params(("name" = String, Path, description = "The secret's name")),
    responses((status = NO_CONTENT), (status = NOT_FOUND, description = "No such secret"))
)]
pub async fn remove(
    State(shared): State<AppState>,
    Extension(by): Extension<Actor>,
    Path(name): Path<String>,
) -> Result<StatusCode, Error> {
    check_name(&name)?;
    let named = name.clone();
    if !with_vault(&shared, move |vault| vault.remove(&named)).await? {
        return Err(ApiError::new(404, format!("Unknown secret \"{name}\"")).into());
    }
    audit_entry::note(&shared, AuditEntry::new("secret.delete", by, &*name, 0)).await;
    Ok(StatusCode::NO_CONTENT)
}

fn check_name(name: &str) -> Result<(), Error> {
    let is_plain = (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if is_plain {
        return Ok(());
    }
    let words =
        "A secret's name must be an environment variable's in lower case, such as `openai_api_key`";
    Err(ApiError::invalid("name", words).into())
}

async fn with_vault<T: Send + 'static>(
    shared: &AppState,
    work: impl FnOnce(Vault) -> anyhow::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let state_dir = Arc::clone(&shared.state_dir);
    let worked = tokio::task::spawn_blocking(move || work(Vault::open(&state_dir)?)).await;
    worked
        .map_err(anyhow::Error::from)
        .flatten()
        .map_err(|error| {
            tracing::error!("the secret store can't be used: {error:#}");
            ApiError::new(
                500,
                "The secret store can't be used; see the control plane's log",
            )
            .into()
        })
}

impl From<SecretDescription> for Secret {
    fn from(description: SecretDescription) -> Self {
        Self {
            name: description.name,
            fingerprint: description.fingerprint,
            updated_at: description.updated_at,
        }
    }
}
