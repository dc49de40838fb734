//! `GET /v1/models` in OpenAI's format, with prices and limits. The filter serves it on the
//! gateway's listener.

use axum::extract::{Path, State};
use axum::{Extension, Json};
use opentracy_translate::model_list::{self, Facts, ListedModel, ModelList};
use utoipa_axum::routes;

use opentracy_config::agent_aliases;
use opentracy_config::catalog;
use opentracy_config::snapshot::{ActiveConfig, capabilities};
use opentracy_rest::access::Caller;
use opentracy_rest::endpoints::{Callers, Endpoints};
use opentracy_rest::error::Error;
use opentracy_state::AppState;
use opentracy_state::status;

/// Registers the endpoints of this file.
pub fn endpoints() -> Endpoints {
    Endpoints::of(Callers::Users)
        .routes(routes!(list))
        .routes(routes!(get))
}

/// Lists the aliases and callable models that the caller's key may use.
#[utoipa::path(get, path = "/v1/models", responses((status = OK, body = ModelList)))]
pub async fn list(
    State(shared): State<AppState>,
    Extension(caller): Extension<Caller>,
) -> Json<ModelList> {
    let snapshot = shared.snapshot.borrow().clone();
    Json(ModelList::new(models(&snapshot), caller.rights()))
}

/// Returns one model, by alias, `provider/model` or the model's own name.
#[utoipa::path(
    get,
    path = "/v1/models/{*id}",
    params(("id" = String, Path, description = "An alias, `provider/model`, or the name of a known model")),
    responses((status = OK, body = ListedModel), (status = NOT_FOUND, description = "No such model, or the key may not use it"))
)]
pub async fn get(
    State(shared): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<ListedModel>, Error> {
    let snapshot = shared.snapshot.borrow().clone();
    let found = model_list::find(models(&snapshot), &id, caller.rights())?;
    Ok(Json(found))
}

/// Returns all callable models regardless of the caller, aliases first.
fn models(snapshot: &ActiveConfig) -> impl Iterator<Item = ListedModel> {
    let of_agents: Vec<String> = snapshot
        .config
        .agents
        .keys()
        .map(|name| agent_aliases::alias_of(name))
        .collect();
    let aliases = snapshot.config.aliases.iter();
    // Hides the internal aliases of agents.
    let aliases = aliases.filter(move |(name, _)| !of_agents.contains(name));
    let aliases = aliases.map(|(name, alias)| ListedModel::of_alias(name, alias.value.in_order()));
    aliases.chain(status::callable_models(snapshot).map(|model| describe(snapshot, model)))
}

fn describe(snapshot: &ActiveConfig, model: &catalog::PricedModel) -> ListedModel {
    let facts = Facts {
        context_window: model.context_window.map(u64::from),
        max_output_tokens: model.max_output_tokens.map(u64::from),
        capabilities: capabilities(model),
        pricing: snapshot.pricing(&format!("{}/{}", model.provider, model.name)),
    };
    ListedModel::of_model(
        &model.provider,
        &model.name,
        &facts,
        catalog::is_bare(model),
    )
}
