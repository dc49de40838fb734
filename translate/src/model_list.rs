//! `GET /v1/models`: OpenAI's shape, extended with prices and limits.
//!
//! Both the filter and the control plane serve it, so its shape and its visibility rules are shared
//! here.

use serde::Serialize;

use crate::access::Rights;
use crate::cost::Pricing;
use crate::error::ApiError;

/// Names of the capabilities, in the order of their bits.
const CAPABILITIES: [&str; 8] = [
    "tools",
    "parallel_tools",
    "json_schema",
    "reasoning",
    "prompt_caching",
    "images",
    "pdf",
    "audio",
];

/// The capabilities of one model, as a set of bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities(pub u32);

impl Capabilities {
    /// Ignores unknown names.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let bit = |name: &str| CAPABILITIES.iter().position(|known| *known == name);
        let bits = names.into_iter().filter_map(bit);
        Self(bits.fold(0, |set, bit| set | 1 << bit))
    }

    pub fn names(self) -> Vec<&'static str> {
        let names = CAPABILITIES.iter().enumerate();
        let own = names.filter(|(bit, _)| self.0 & (1 << bit) != 0);
        own.map(|(_, name)| *name).collect()
    }
}

/// A model or an alias that callers may use.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Model))]
pub struct ListedModel {
    /// An alias, or `provider/model`.
    pub id: String,
    pub object: &'static str,
    pub created: u64,
    /// The provider; `opentracy` for an alias.
    pub owned_by: String,
    /// Tokens; `null` if unknown.
    pub context_window: Option<u64>,
    /// Tokens; `null` if unknown.
    pub max_output_tokens: Option<u64>,
    /// Capabilities: `tools`, `parallel_tools`, `json_schema`, `reasoning`, `prompt_caching`,
    /// `images`, `pdf`, `audio`.
    pub capabilities: Vec<&'static str>,
    /// USD per token; `null` if unknown.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub pricing: Option<Pricing>,
    /// The models behind an alias, best first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Vec<String>>,
    /// The model's own name, if callers may omit the provider.
    #[serde(skip)]
    pub bare_name: Option<String>,
}

/// The facts about a model other than its name.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts {
    pub context_window: Option<u64>,
    pub max_output_tokens: Option<u64>,
    pub capabilities: Capabilities,
    pub pricing: Option<Pricing>,
}

impl ListedModel {
    pub fn of_alias(name: &str, candidates: Vec<String>) -> Self {
        Self {
            candidates: Some(candidates),
            ..Self::new(name.to_owned(), "opentracy", &Facts::default())
        }
    }

    /// `is_bare` is set if callers may omit the provider.
    pub fn of_model(provider: &str, name: &str, facts: &Facts, is_bare: bool) -> Self {
        Self {
            bare_name: is_bare.then(|| name.to_owned()),
            ..Self::new(format!("{provider}/{name}"), provider, facts)
        }
    }

    fn new(id: String, owned_by: &str, facts: &Facts) -> Self {
        Self {
            id,
            object: "model",
            created: 0,
            owned_by: owned_by.to_owned(),
            context_window: facts.context_window,
            max_output_tokens: facts.max_output_tokens,
            capabilities: facts.capabilities.names(),
            pricing: facts.pricing.filter(|pricing| pricing.input.is_some()),
            candidates: None,
            bare_name: None,
        }
    }

    fn has_name(&self, name: &str) -> bool {
        self.id == name || self.bare_name.as_deref() == Some(name)
    }

    /// Returns true if a key may use the model, by its id or by its bare name.
    fn is_visible_to(&self, rights: Option<&Rights>) -> bool {
        rights.is_none_or(|rights| {
            let bare = self.bare_name.as_deref();
            rights.has_model(&self.id) || bare.is_some_and(|bare| rights.has_model(bare))
        })
    }
}

/// The answer to `GET /v1/models`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Models))]
pub struct ModelList {
    object: &'static str,
    data: Vec<ListedModel>,
}

impl ModelList {
    /// Lists the models that a key may use; all of them without a key.
    pub fn new(models: impl Iterator<Item = ListedModel>, rights: Option<&Rights>) -> Self {
        Self {
            object: "list",
            data: models.filter(|model| model.is_visible_to(rights)).collect(),
        }
    }
}

/// Finds a model by its alias, `provider/model` or bare name. A model that the key may not use
/// gives the same error as one that doesn't exist.
pub fn find(
    mut models: impl Iterator<Item = ListedModel>,
    name: &str,
    rights: Option<&Rights>,
) -> Result<ListedModel, ApiError> {
    models
        .find(|model| model.has_name(name) && model.is_visible_to(rights))
        .ok_or_else(|| {
            let message =
                format!("The model \"{name}\" is not known here, or its provider has no key");
            ApiError::new(404, message).with_code("model_not_found")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models() -> impl Iterator<Item = ListedModel> {
        let facts = Facts {
            capabilities: Capabilities::from_names(["tools", "images", "unheard-of"]),
            ..Facts::default()
        };
        [
            ListedModel::of_alias("smart", vec!["openai/gpt-4o".to_owned()]),
            ListedModel::of_model("openai", "gpt-4o", &facts, true),
            ListedModel::of_model("groq", "llama", &facts, false),
        ]
        .into_iter()
    }

    fn rights(models: &[&str]) -> Rights {
        Rights {
            models: models.iter().map(|model| (*model).to_owned()).collect(),
            ..Rights::default()
        }
    }

    fn ids(rights: Option<&Rights>) -> Vec<String> {
        let list = ModelList::new(models(), rights);
        list.data.into_iter().map(|model| model.id).collect()
    }

    #[test]
    fn a_key_sees_its_models_alone() {
        assert_eq!(ids(None), ["smart", "openai/gpt-4o", "groq/llama"]);
        assert_eq!(ids(Some(&rights(&["openai/*"]))), ["openai/gpt-4o"]);
        assert_eq!(ids(Some(&rights(&["gpt-4o"]))), ["openai/gpt-4o"]);
        assert_eq!(ids(Some(&rights(&["smart"]))), ["smart"]);
    }

    #[test]
    fn a_model_of_others_is_as_unknown_as_one_that_does_not_exist() {
        let own = rights(&["openai/*"]);
        let get = |name| find(models(), name, Some(&own));
        assert_eq!(get("gpt-4o").unwrap().id, "openai/gpt-4o");
        assert_eq!(get("openai/gpt-4o").unwrap().owned_by, "openai");
        for name in ["smart", "groq/llama", "llama"] {
            let error = get(name).unwrap_err();
            let unknown = get("nothing").unwrap_err();
            assert_eq!(error.message, unknown.message.replace("nothing", name));
            assert_eq!((error.status, error.code), (unknown.status, unknown.code));
        }
        assert!(
            find(models(), "llama", None).is_err(),
            "it has no bare name"
        );
    }

    #[test]
    fn capabilities_keep_their_names() {
        let all = Capabilities::from_names(CAPABILITIES);
        assert_eq!(all.names(), CAPABILITIES);
        let json = serde_json::to_value(models().nth(1).unwrap()).unwrap();
        assert_eq!(json["capabilities"], serde_json::json!(["tools", "images"]));
        assert_eq!(json["pricing"], serde_json::Value::Null);
        assert!(json.get("candidates").is_none() && json.get("bare_name").is_none());
    }
}
