//! `/v1/keys`: manages client keys. A key is shown only once, when it is created.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use opentracy_translate::access::Role;
use opentracy_translate::error::ApiError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::routes;

use opentracy_config::client_keys::{ClientKeys, KeyEntry, KeyError, KeyPolicy};
use opentracy_rest::audit_entry;
use opentracy_rest::endpoints::{Callers, Endpoints};
use opentracy_rest::error::Error;
use opentracy_rest::json::{self, Body};
use opentracy_state::AppState;
use opentracy_store::{Actor, AuditEntry};

/// Registers the endpoints of this file.
pub fn endpoints() -> Endpoints {
    Endpoints::of(Callers::Admins)
        .routes(routes!(list, create))
        .routes(routes!(replace, update, revoke))
        .routes(routes!(rotate))
}

#[derive(Serialize, ToSchema)]
pub struct ClientKeyList {
    data: Vec<KeyView>,
}

/// A key, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientKey)]
pub struct KeyView {
    name: String,
    /// The first characters of the key.
    prefix: String,
    /// RFC 3339, UTC.
    created_at: String,
    /// RFC 3339, UTC; `null` if the key was never rotated.
    rotated_at: Option<String>,
    #[serde(flatten)]
    terms: KeyPolicy,
}

#[derive(Serialize, ToSchema)]
pub struct NewClientKey {
    /// The key itself. It is not stored and can't be retrieved later.
    secret: String,
    #[serde(flatten)]
    key: KeyView,
}

/// The name and terms of a new key.
#[derive(Deserialize, ToSchema)]
#[serde(try_from = "Map<String, Value>")]
pub struct KeyRequest {
    /// The name of the key in traces, limits and budgets.
    name: String,
    #[serde(flatten)]
    terms: KeyPolicy,
}

/// Flattened by hand, so that unknown members are rejected.
impl TryFrom<Map<String, Value>> for KeyRequest {
    type Error = String;

    fn try_from(mut members: Map<String, Value>) -> Result<Self, String> {
        let Some(Value::String(name)) = members.remove("name") else {
            return Err("`name` must be a string".to_owned());
        };
        let terms = Value::from(members);
        let terms =
            serde_path_to_error::deserialize(terms).map_err(|error| json::describe(&error))?;
        Ok(Self { name, terms })
    }
}

/// Lists the keys created here, without those of the configuration file.
#[utoipa::path(get, path = "/v1/keys", responses((status = OK, body = ClientKeyList)))]
pub async fn list(State(shared): State<AppState>) -> Result<Json<ClientKeyList>, Error> {
    let entries = with_keys(&shared, |keys| keys.list()).await?;
    Ok(Json(ClientKeyList {
        data: entries.into_iter().map(KeyView::from).collect(),
    }))
}

/// Creates a key, which works within two seconds. Once there is a key, requests without one are
/// denied.
#[utoipa::path(
    post,
    path = "/v1/keys",
    request_body = KeyRequest,
    responses(
        (status = CREATED, body = NewClientKey),
        (status = BAD_REQUEST, description = "Invalid terms"),
        (status = CONFLICT, description = "The name is taken, or the first key is not an administrator's")
    )
)]
pub async fn create(
    State(shared): State<AppState>,
    Extension(by): Extension<Actor>,
    Body(KeyRequest { name, terms }): Body<KeyRequest>,
) -> Result<(StatusCode, Json<NewClientKey>), Error> {
    let is_first = shared.snapshot.borrow().keyring.is_empty();
    if is_first && terms.role != Role::Admin {
        let words = "Create a key with the role `admin` first: once any key exists, this endpoint needs an administrator's";
        return Err(ApiError::new(409, words)
            .with_code("admin_key_missing")
            .into());
    }
    if shared.snapshot.borrow().config.keys.contains_key(&name) {
        return Err(refused(&KeyError::Exists(name)));
    }
    let named = name.clone();
    let (entry, secret) = with_keys(&shared, move |keys| keys.create(&named, terms)).await?;
    audit_entry::note(&shared, AuditEntry::new("key.create", by, &*name, 0)).await;
    let key = NewClientKey {
        secret,
        key: entry.into(),
    };
    Ok((StatusCode::CREATED, Json(key)))
}

/// Replaces all terms of a key. The body must contain each term that currently restricts the key,
/// so that none is lost unnoticed.
#[utoipa::path(
    put,
    path = "/v1/keys/{name}",
    params(("name" = String, Path, description = "The key's name")),
    request_body = KeyPolicy,
    responses(
        (status = OK, body = KeyView),
        (status = BAD_REQUEST, description = "Invalid terms, or a current restriction is missing"),
        (status = NOT_FOUND, description = "No such key")
    )
)]
pub async fn replace(
    State(shared): State<AppState>,
    Extension(by): Extension<Actor>,
    Path(name): Path<String>,
    Body(terms): Body<Map<String, Value>>,
) -> Result<Json<KeyView>, Error> {
    let named = name.clone();
    let entry = with_keys(&shared, move |keys| keys.replace_terms(&named, &terms)).await?;
    Ok(note_update(&shared, by, &name, entry).await)
}

/// Changes the terms of a key that are in the body: JSON Merge Patch (RFC 7396). `null` resets a
/// term.
#[utoipa::path(
    patch,
    path = "/v1/keys/{name}",
    params(("name" = String, Path, description = "The key's name")),
    request_body = KeyPolicy,
    responses(
        (status = OK, body = KeyView),
        (status = BAD_REQUEST, description = "Invalid terms"),
        (status = NOT_FOUND, description = "No such key")
    )
)]
pub async fn update(
    State(shared): State<AppState>,
    Extension(by): Extension<Actor>,
    Path(name): Path<String>,
    Body(patch): Body<Map<String, Value>>,
) -> Result<Json<KeyView>, Error> {
    let named = name.clone();
    let entry = with_keys(&shared, move |keys| keys.patch_terms(&named, &patch)).await?;
    Ok(note_update(&shared, by, &name, entry).await)
}

/// Replaces a key's secret, keeping its terms. The old one stops working within two seconds.
#[utoipa::path(
    post,
    path = "/v1/keys/{name}/rotate",
    params(("name" = String, Path, description = "The key's name")),
    responses((status = OK, body = NewClientKey), (status = NOT_FOUND, description = "No such key"))
)]
pub async fn rotate(
    State(shared): State<AppState>,
    Extension(by): Extension<Actor>,
    Path(name): Path<String>,
) -> Result<Json<NewClientKey>, Error> {
    let named = name.clone();
    let (entry, secret) = with_keys(&shared, move |keys| keys.rotate(&named)).await?;
    audit_entry::note(&shared, AuditEntry::new("key.rotate", by, &*name, 0)).await;
    Ok(Json(NewClientKey {
        secret,
        key: entry.into(),
    }))
}

/// Removes a key. It stops working within two seconds.
#[utoipa::path(
    delete,
    path = "/v1/keys/{name}",
    params(("name" = String, Path, description = "The key's name")),
    responses((status = NO_CONTENT), (status = NOT_FOUND, description = "No such key"))
)]
pub async fn revoke(
    State(shared): State<AppState>,
    Extension(by): Extension<Actor>,
    Path(name): Path<String>,
) -> Result<StatusCode, Error> {
    let named = name.clone();
    with_keys(&shared, move |keys| keys.revoke(&named)).await?;
    audit_entry::note(&shared, AuditEntry::new("key.revoke", by, &*name, 0)).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn note_update(shared: &AppState, by: Actor, name: &str, entry: KeyEntry) -> Json<KeyView> {
    audit_entry::note(shared, AuditEntry::new("key.update", by, name, 0)).await;
    Json(entry.into())
}

async fn with_keys<T: Send + 'static>(
    shared: &AppState,
    work: impl FnOnce(ClientKeys) -> anyhow::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let state_dir = Arc::clone(&shared.state_dir);
    let worked = tokio::task::spawn_blocking(move || work(ClientKeys::of(&state_dir))).await;
    let worked = worked.map_err(anyhow::Error::from).flatten();
    worked.map_err(|error| match error.downcast_ref() {
        Some(why) => refused(why),
        None => {
            tracing::error!("the client keys can't be read or written: {error:#}");
            ApiError::new(
                500,
                "The client keys can't be read or written; see the control plane's log",
            )
            .into()
        }
    })
}

fn refused(why: &KeyError) -> Error {
    let error = match why {
        KeyError::NotFound(name) => ApiError::new(404, format!("Unknown key \"{name}\"")),
        KeyError::Exists(name) => ApiError::new(409, format!("The key \"{name}\" already exists")),
        KeyError::KeyPolicy(message) => ApiError::new(400, message.as_str()),
    };
    error.into()
}

impl From<KeyEntry> for KeyView {
    fn from(entry: KeyEntry) -> Self {
        Self {
            name: entry.name,
            prefix: format!("otk_{}_", entry.made.id),
            created_at: entry.created_at,
            rotated_at: entry.rotated_at,
            terms: entry.terms,
        }
    }
}
