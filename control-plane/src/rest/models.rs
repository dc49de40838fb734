//! `GET /v1/models`, in OpenAI's shape, with prices and limits beside.

use axum::extract::{Path, State};
use axum::{Extension, Json};
use opentracy_translate::cost::Pricing;
use opentracy_translate::error::ApiError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::agents;
use crate::catalog;
use crate::rest::access::Caller;
use crate::rest::error::Error;
use crate::serve::Shared;
use crate::snapshot::Snapshot;

#[derive(Serialize, ToSchema)]
pub struct Model {
    /// An alias, or `provider/model`.
    id: String,
    object: &'static str,
    created: u64,
    /// The provider; `opentracy` for an alias.
    owned_by: String,
    /// Tokens; `null` when unknown.
    context_window: Option<u32>,
    /// Tokens; `null` when unknown.
    max_output_tokens: Option<u32>,
    /// What it can do: `tools`, `parallel_tools`, `json_schema`, `reasoning`, `prompt_caching`, `images`, `pdf`, `audio`.
    capabilities: Vec<String>,
    /// USD per token; `null` when unknown.
    #[schema(value_type = Option<Object>)]
    pricing: Option<Pricing>,
    /// The models behind an alias, best first.
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates: Option<Vec<String>>,
}

#[derive(Serialize, ToSchema)]
pub struct Models {
    object: &'static str,
    data: Vec<Model>,
}

/// The catalog's models whose provider has the key it needs.
pub fn callable(snapshot: &Snapshot) -> impl Iterator<Item = &'static catalog::Model> {
    catalog::models()
        .iter()
        .filter(|model| snapshot.is_callable(&model.provider))
}

/// The aliases, and the models of every provider that can be called: those that the caller's key is for.
#[utoipa::path(get, path = "/v1/models", responses((status = OK, body = Models)))]
pub async fn list(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Json<Models> {
    let snapshot = shared.snapshot.borrow().clone();
    let data = aliases(&snapshot)
        .chain(callable(&snapshot).map(|model| describe(&snapshot, model)))
        .filter(|model| caller.has_model(&model.id))
        .collect();
    Json(Models {
        object: "list",
        data,
    })
}

/// One of them, by alias, `provider/model` or the model's own name.
#[utoipa::path(
    get,
    path = "/v1/models/{*id}",
    params(("id" = String, Path, description = "An alias, `provider/model`, or the name of a known model")),
    responses((status = OK, body = Model), (status = NOT_FOUND, description = "No such model"))
)]
pub async fn get(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Model>, Error> {
    let snapshot = shared.snapshot.borrow().clone();
    if let Some(alias) = aliases(&snapshot).find(|alias| alias.id == id) {
        return Ok(Json(alias));
    }
    let provider = catalog::provider_of(&id);
    callable(&snapshot)
        .find(|model| match provider {
            Some(provider) => model.provider == provider && model.name == id,
            None => id.split_once('/') == Some((&model.provider, &model.name)),
        })
        .map(|model| Json(describe(&snapshot, model)))
        .ok_or_else(|| {
            let message =
                format!("The model \"{id}\" is not known here, or its provider has no key");
            ApiError::new(404, message)
                .with_code("model_not_found")
                .into()
        })
}

fn aliases(snapshot: &Snapshot) -> impl Iterator<Item = Model> {
    let of_agents: Vec<String> = snapshot
        .config
        .agents
        .keys()
        .map(|name| agents::alias_of(name))
        .collect();
    let aliases = snapshot.config.aliases.iter();
    // What an agent asks for is its own affair.
    let aliases = aliases.filter(move |(name, _)| !of_agents.contains(name));
    aliases.map(|(name, alias)| Model {
        id: name.clone(),
        object: "model",
        created: 0,
        owned_by: "opentracy".to_owned(),
        context_window: None,
        max_output_tokens: None,
        capabilities: Vec::new(),
        pricing: None,
        candidates: Some(
            alias
                .value
                .candidates
                .iter()
                .map(|candidate| candidate.value.clone())
                .collect(),
        ),
    })
}

fn describe(snapshot: &Snapshot, model: &catalog::Model) -> Model {
    let id = format!("{}/{}", model.provider, model.name);
    let pricing = snapshot.pricing(&id).unwrap_or_default();
    Model {
        id,
        object: "model",
        created: 0,
        owned_by: model.provider.clone(),
        context_window: model.context_window,
        max_output_tokens: model.max_output_tokens,
        capabilities: model.capabilities.clone(),
        pricing: pricing.input.is_some().then_some(pricing),
        candidates: None,
    }
}
