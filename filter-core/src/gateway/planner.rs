//! Resolves the name that a client asked for to the models that can answer.

use std::rc::Rc;

use opentracy_proto::v1;
use opentracy_translate::error::ApiError;
use opentracy_translate::model::{self, ModelId};

use crate::small_sort::sort_by_key;
use crate::snapshot::{Provider, Snapshot};

/// The similarity from which a name is suggested, from 0 to 1.
const NEAR: f64 = 0.75;
const MAX_SUGGESTIONS: usize = 3;

/// A model to try, at a provider that can be called.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderModel {
    pub provider: Rc<Provider>,
    pub model: String,
}

impl ProviderModel {
    pub fn id(&self) -> String {
        model::id_of(&self.provider.name, &self.model)
    }
}

/// The meaning of a client's name for a model.
#[derive(Debug, PartialEq)]
pub struct ResolvedModel<'s> {
    /// Set if the name is an alias.
    pub alias: Option<&'s v1::Alias>,
    /// Best first, at least one.
    pub candidates: Vec<ProviderModel>,
}

/// Resolves a name: an alias, a `provider/model`, or a model whose provider is known.
pub fn resolve<'s>(snapshot: &'s Snapshot, requested: &str) -> Result<ResolvedModel<'s>, ApiError> {
    if !model::is_plausible_name(requested) {
        return Err(ApiError::invalid(
            "model",
            "`model` must be a name of at most 200 printable ASCII characters without spaces",
        ));
    }
    if let Some(alias) = snapshot.aliases.get(requested) {
        return resolve_alias(snapshot, alias);
    }
    let id = match snapshot.bare_models.get(requested) {
        Some(provider) => Some(ModelId::new(provider, requested)),
        None => ModelId::parse(requested),
    };
    let candidate = id
        .and_then(|id| {
            Some(ProviderModel {
                provider: Rc::clone(snapshot.providers.get(&id.provider)?),
                model: id.name,
            })
        })
        .ok_or_else(|| not_found(snapshot, requested))?;
    if let Some(variable) = &candidate.provider.missing_key_variable {
        return Err(key_missing(&candidate.provider.name, variable));
    }
    Ok(ResolvedModel {
        alias: None,
        candidates: vec![candidate],
    })
}

/// Returns the candidates of an alias, without those whose provider has no key.
fn resolve_alias<'s>(
    snapshot: &'s Snapshot,
    alias: &'s v1::Alias,
) -> Result<ResolvedModel<'s>, ApiError> {
    let mut missing = None;
    let mut candidates = Vec::with_capacity(alias.candidates.len());
    for text in &alias.candidates {
        let Some(id) = ModelId::parse(text) else {
            continue;
        };
        let Some(provider) = snapshot.providers.get(&id.provider) else {
            continue;
        };
        match &provider.missing_key_variable {
            Some(variable) => {
                missing.get_or_insert_with(|| key_missing(&provider.name, variable));
            }
            None => candidates.push(ProviderModel {
                provider: Rc::clone(provider),
                model: id.name,
            }),
        }
    }
    if candidates.is_empty() {
        return Err(missing.unwrap_or_else(|| {
            ApiError::new(
                503,
                format!("No candidate of the alias \"{}\" can be called", alias.name),
            )
        }));
    }
    Ok(ResolvedModel {
        alias: Some(alias),
        candidates,
    })
}

pub fn key_missing(provider: &str, variable: &str) -> ApiError {
    ApiError::new(
        401,
        format!(
            "The gateway has no API key for {provider}. Set {variable} where the control plane runs, or \"{}\" in its secrets file",
            variable.to_ascii_lowercase()
        ),
    )
    .with_code("provider_key_missing")
}

/// Returns the error for a name that no configuration knows.
pub fn not_found(snapshot: &Snapshot, requested: &str) -> ApiError {
    let mut message = format!("The model \"{requested}\" is not known here.");
    let suggestions = near_matches(snapshot, requested);
    if !suggestions.is_empty() {
        message.push_str(&format!(" Did you mean {}?", suggestions.join(" or ")));
    }
    message.push_str(
        " GET /v1/models lists the models; \"provider/model\" names any other model of a provider.",
    );
    ApiError {
        param: Some("model".to_owned()),
        ..ApiError::new(404, message).with_code("model_not_found")
    }
}

/// Returns names similar to the unknown one.
fn near_matches(snapshot: &Snapshot, requested: &str) -> Vec<String> {
    let mut scored: Vec<(f64, String)> = match ModelId::parse(requested) {
        Some(id) => snapshot
            .providers
            .keys()
            .map(|name| {
                let score = strsim::jaro_winkler(&id.provider, name);
                (score, format!("\"{name}/{}\"", id.name))
            })
            .collect(),
        None => snapshot
            .aliases
            .keys()
            .chain(snapshot.bare_models.keys())
            .map(|name| (strsim::jaro_winkler(requested, name), format!("\"{name}\"")))
            .collect(),
    };
    scored.retain(|(score, _)| *score >= NEAR);
    scored.sort_by(|(a, a_name), (b, b_name)| b.total_cmp(a).then_with(|| a_name.cmp(b_name)));
    scored
        .into_iter()
        .take(MAX_SUGGESTIONS)
        .map(|(_, name)| name)
        .collect()
}

/// Moves the candidates to the order of `ids`; those that are not named follow in their own order.
pub fn reorder(candidates: &mut Vec<ProviderModel>, ids: &[String]) {
    sort_by_key(candidates, |candidate| {
        let id = candidate.id();
        ids.iter()
            .position(|other| *other == id)
            .unwrap_or(ids.len())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let provider = |name: &str, missing: Option<&str>| v1::Provider {
            name: name.to_owned(),
            missing_key_variable: missing.map(str::to_owned),
            ..v1::Provider::default()
        };
        let model = |provider: &str, name: &str| v1::Model {
            provider: provider.to_owned(),
            name: name.to_owned(),
            bare: true,
            ..v1::Model::default()
        };
        let alias = |name: &str, candidates: &[&str]| v1::Alias {
            name: name.to_owned(),
            candidates: candidates.iter().map(|&text| text.to_owned()).collect(),
            ..v1::Alias::default()
        };
        Snapshot::new(
            "1".to_owned(),
            v1::Snapshot {
                providers: vec![
                    provider("openai", None),
                    provider("anthropic", None),
                    provider("groq", Some("GROQ_API_KEY")),
                ],
                aliases: vec![
                    alias(
                        "smart",
                        &["groq/x", "anthropic/claude-sonnet-4-6", "openai/gpt-4o"],
                    ),
                    alias("quick", &["groq/x"]),
                ],
                models: vec![model("openai", "gpt-4o"), model("openai", "gpt-4o-mini")],
                ..v1::Snapshot::default()
            },
        )
    }

    fn ids(snapshot: &Snapshot, requested: &str) -> Vec<String> {
        let target = resolve(snapshot, requested).unwrap();
        target.candidates.iter().map(ProviderModel::id).collect()
    }

    #[test]
    fn a_name_is_an_alias_a_provider_and_model_or_a_known_model() {
        let snapshot = snapshot();
        assert_eq!(ids(&snapshot, "gpt-4o"), ["openai/gpt-4o"]);
        assert_eq!(ids(&snapshot, "openai/new-model"), ["openai/new-model"]);
        assert_eq!(
            ids(&snapshot, "smart"),
            ["anthropic/claude-sonnet-4-6", "openai/gpt-4o"],
            "a candidate without a key is skipped"
        );
    }

    #[test]
    fn an_unknown_name_brings_near_matches() {
        let snapshot = snapshot();
        let error = resolve(&snapshot, "gpt-4o-mimi").unwrap_err();
        assert_eq!(
            (error.status, error.code.as_deref()),
            (404, Some("model_not_found"))
        );
        assert!(
            error.message.contains("\"gpt-4o-mini\""),
            "{}",
            error.message
        );
        let error = resolve(&snapshot, "antropic/claude-x").unwrap_err();
        assert!(
            error.message.contains("\"anthropic/claude-x\""),
            "{}",
            error.message
        );
        let error = resolve(&snapshot, "zzz").unwrap_err();
        assert!(!error.message.contains("Did you mean"), "{}", error.message);
    }

    #[test]
    fn a_provider_without_a_key_is_named_with_its_variable() {
        let snapshot = snapshot();
        for requested in ["groq/x", "quick"] {
            let error = resolve(&snapshot, requested).unwrap_err();
            assert_eq!(error.status, 401);
            assert!(error.message.contains("GROQ_API_KEY"), "{}", error.message);
        }
    }

    #[test]
    fn the_routers_order_is_kept_and_nothing_is_lost() {
        let snapshot = snapshot();
        let mut target = resolve(&snapshot, "smart").unwrap();
        reorder(
            &mut target.candidates,
            &["openai/gpt-4o".to_owned(), "x/y".to_owned()],
        );
        let order: Vec<String> = target.candidates.iter().map(ProviderModel::id).collect();
        assert_eq!(order, ["openai/gpt-4o", "anthropic/claude-sonnet-4-6"]);
    }
}
