//! Catalog of known models with prices and limits, as of the day the catalog was generated.
//!
//! `cargo xtask catalog` generates `catalog.json` from the data file of the `litellm` package, the
//! field's common source.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use opentracy_translate::cost::{Pricing, Usd};
use opentracy_translate::provider as registry;
use serde::Deserialize;

/// A model as one provider offers it.
#[derive(Debug, Clone, Deserialize)]
pub struct PricedModel {
    pub provider: String,
    pub name: String,
    #[serde(default)]
    pub pricing: Pricing,
    /// In tokens.
    #[serde(default)]
    pub context_window: Option<u32>,
    /// In tokens.
    #[serde(default)]
    pub max_output_tokens: Option<u32>,
    /// Capabilities such as `tools` or `images`; empty if unknown.
    #[serde(default)]
    pub capabilities: Vec<String>,
}

/// The demo provider's models, with made-up prices in USD per token for those that the router may
/// choose from.
const DEMO_MODELS: [(&str, Option<f64>); 4] = [
    ("echo", None),
    ("stream", None),
    ("small", Some(2e-7)),
    ("large", Some(5e-6)),
];

static MODELS: LazyLock<Vec<PricedModel>> = LazyLock::new(|| {
    let mut models: Vec<PricedModel> = serde_json::from_str(include_str!("../catalog.json"))
        .expect("the catalog is made by us and tested");
    models.extend(DEMO_MODELS.map(|(name, price)| PricedModel {
        provider: crate::DEMO.to_owned(),
        name: name.to_owned(),
        pricing: Pricing {
            input: price.map(Usd),
            output: price.map(Usd),
            ..Pricing::default()
        },
        context_window: None,
        max_output_tokens: None,
        capabilities: Vec::new(),
    }));
    models.sort_by(|one, other| (&one.provider, &one.name).cmp(&(&other.provider, &other.name)));
    models
});

/// Returns every model, ordered by provider and name.
pub fn models() -> &'static [PricedModel] {
    &MODELS
}

static BY_NAME: LazyLock<HashMap<(&str, &str), &PricedModel>> = LazyLock::new(|| {
    let named = MODELS
        .iter()
        .map(|model| ((&*model.provider, &*model.name), model));
    named.collect()
});

/// Returns the catalog entry of a model.
pub fn find(provider: &str, name: &str) -> Option<&'static PricedModel> {
    BY_NAME.get(&(provider, name)).copied()
}

/// Returns whether callers may omit the model's provider.
pub fn is_bare(model: &PricedModel) -> bool {
    BARE.contains(&(&*model.provider, &*model.name))
}

static BARE: LazyLock<HashSet<(&str, &str)>> = LazyLock::new(|| {
    let models = MODELS.iter();
    models
        .filter(|model| provider_of(&model.name) == Some(model.provider.as_str()))
        .map(|model| (&*model.provider, &*model.name))
        .collect()
});

/// Returns the provider that is assumed for a model name without one: the model's maker. A name
/// with a slash would be read as another provider's.
pub fn provider_of(model: &str) -> Option<&'static str> {
    if model.contains('/') {
        return None;
    }
    registry::PROVIDERS
        .iter()
        .filter(|row| row.first_party)
        .find(|row| {
            MODELS
                .iter()
                .any(|known| known.provider == row.name && known.name == model)
        })
        .map(|row| row.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_models_have_prices_and_limits() {
        for (provider, name) in [
            ("openai", "gpt-4o-mini"),
            ("anthropic", "claude-sonnet-4-6"),
        ] {
            let model = models()
                .iter()
                .find(|model| model.provider == provider && model.name == name)
                .unwrap();
            assert!(model.pricing.input.unwrap().0 > 0.0);
            assert!(model.pricing.cache_read.unwrap() < model.pricing.input.unwrap());
            assert!(model.max_output_tokens.unwrap() > 4096);
        }
    }

    #[test]
    fn every_model_is_of_a_provider_we_know() {
        for model in models() {
            assert!(
                registry::find(&model.provider).is_some() || model.provider == crate::DEMO,
                "{model:?}"
            );
        }
    }

    #[test]
    fn every_capability_has_a_place_on_the_wire() {
        for model in models() {
            let known = crate::snapshot::capabilities(model);
            assert_eq!(known.names().len(), model.capabilities.len(), "{model:?}");
        }
    }

    #[test]
    fn a_bare_name_is_its_makers() {
        assert_eq!(provider_of("gpt-4o"), Some("openai"));
        assert_eq!(provider_of("claude-sonnet-4-6"), Some("anthropic"));
        assert_eq!(provider_of("meta-llama/Llama-3.3-70B-Instruct-Turbo"), None);
    }
}
