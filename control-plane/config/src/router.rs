//! `router`, and the router's settings of an alias.

use std::path::PathBuf;
use std::time::Duration;

use opentracy_router::Weights;
use serde::Deserialize;
use serde_saphyr::Spanned;
use url::Url;

use crate::state_dir;

/// Settings of the router, which chooses models.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[serde(expecting = "struct Router")]
pub struct RouterConfig {
    /// If false, aliases with `route: auto` use their default.
    pub enabled: bool,
    /// The longest wait for a decision.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
    pub embedder: Embedder,
    /// The folder with the packs.
    pub packs: Option<PathBuf>,
    pub cache: RouterCache,
    /// The share of prompts, from 0 to 1, that may be far from all that the pack was fitted on
    /// before a drift alert is raised.
    pub drift_alert: f64,
}

/// The model that turns prompts into vectors.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Embedder {
    /// Its name; a pack works with only one embedder.
    pub name: String,
    /// The folder with `model.onnx`, `tokenizer.json` and, unless `runtime` names another file,
    /// `libonnxruntime.so`.
    pub path: Option<PathBuf>,
    /// The library of ONNX Runtime.
    pub runtime: Option<PathBuf>,
    /// Length at which prompts are truncated.
    pub max_tokens: usize,
    /// An embeddings service to use instead.
    pub endpoint: Option<EmbeddingEndpoint>,
}

/// `POST /v1/embeddings` of OpenAI's API.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingEndpoint {
    pub url: Url,
    pub model: String,
    pub dimensions: usize,
    /// The environment variable that holds the key.
    pub api_key_env: Option<String>,
}

/// Cache of estimates for earlier prompts.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[serde(expecting = "struct Cache")]
pub struct RouterCache {
    pub entries: u64,
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
}

/// Trade-offs between error, cost and latency of an alias with `route: auto`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Routing {
    /// The candidate that is tried first without a decision; the first of the list if not set.
    pub default: Option<Spanned<String>>,
    /// The increase in expected error that is worth the whole cost of the most expensive candidate.
    pub cost_weight: Option<Spanned<f64>>,
    /// The increase in expected error that is worth the whole latency of the slowest candidate.
    pub latency_weight: Option<Spanned<f64>>,
    /// The share of calls, from 0 to 1, that may explore a model with few observations.
    pub exploration: Option<Spanned<f64>>,
}

/// Default: a free model may be wrong one time in ten more often.
const COST_WEIGHT: f64 = 0.1;

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            deadline: Duration::from_millis(500),
            embedder: Embedder::default(),
            packs: None,
            cache: RouterCache::default(),
            drift_alert: 0.2,
        }
    }
}

impl Default for Embedder {
    fn default() -> Self {
        Self {
            name: "all-MiniLM-L6-v2".to_owned(),
            path: None,
            runtime: None,
            max_tokens: 256,
            endpoint: None,
        }
    }
}

impl Default for RouterCache {
    fn default() -> Self {
        Self {
            entries: 10_000,
            ttl: Duration::from_secs(600),
        }
    }
}

impl RouterConfig {
    pub fn packs(&self) -> PathBuf {
        self.packs
            .clone()
            .unwrap_or_else(|| state_dir().join("router"))
    }
}

impl Embedder {
    /// Returns the folder from the file or the environment; otherwise `embedder` in the state
    /// folder.
    pub fn path(&self) -> PathBuf {
        let of_environment = || std::env::var_os("OPENTRACY_EMBEDDER").map(PathBuf::from);
        self.path
            .clone()
            .or_else(of_environment)
            .unwrap_or_else(|| state_dir().join("embedder"))
    }
}

impl Routing {
    /// Returns the weights of the trade-off; a request may set the weight of the cost itself.
    pub fn weights(&self, cost_weight: Option<f64>) -> Weights {
        let figure = |figure: &Option<Spanned<f64>>| figure.as_ref().map(|figure| figure.value);
        Weights {
            cost: cost_weight
                .or(figure(&self.cost_weight))
                .unwrap_or(COST_WEIGHT),
            latency: figure(&self.latency_weight).unwrap_or_default(),
            exploration: figure(&self.exploration).unwrap_or_default(),
        }
    }
}
