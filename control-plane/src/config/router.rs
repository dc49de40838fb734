//! `router`, and what of an alias is for it.

use std::path::PathBuf;
use std::time::Duration;

use opentracy_router::Weights;
use serde::Deserialize;
use serde_saphyr::Spanned;
use url::Url;

use super::state_dir;

/// How models are chosen.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Router {
    /// Without it, aliases with `route: auto` go by their default.
    pub enabled: bool,
    /// A later decision is not waited for.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
    pub embedder: Embedder,
    /// The folder of the packs.
    pub packs: Option<PathBuf>,
    pub cache: Cache,
    /// The share of prompts far from all that the pack was fitted on that is complained of, from 0 to 1.
    pub drift_alert: f64,
}

/// What turns prompts into vectors.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Embedder {
    /// Its name; packs are of one embedder.
    pub name: String,
    /// The folder with `model.onnx`, `tokenizer.json` and, unless `runtime` says otherwise, `libonnxruntime.so`.
    pub path: Option<PathBuf>,
    /// ONNX Runtime's library.
    pub runtime: Option<PathBuf>,
    /// What is longer is cut.
    pub max_tokens: usize,
    /// A service that embeds instead.
    pub endpoint: Option<EmbeddingEndpoint>,
}

/// `POST /v1/embeddings`, in OpenAI's API.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingEndpoint {
    pub url: Url,
    pub model: String,
    pub dimensions: usize,
    /// The environment variable with the key.
    pub api_key_env: Option<String>,
}

/// What was said of prompts that came before.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    pub entries: u64,
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
}

/// What an alias with `route: auto` gives up for what.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Routing {
    /// The candidate that is tried first where there is no decision; the first of the list without one.
    pub default: Option<Spanned<String>>,
    /// How much more expected error is worth the whole cost of the dearest candidate.
    pub cost_weight: Option<Spanned<f64>>,
    /// How much more expected error is worth the whole latency of the slowest candidate.
    pub latency_weight: Option<Spanned<f64>>,
    /// The share of calls, from 0 to 1, that may try a model of which little is known.
    pub exploration: Option<Spanned<f64>>,
}

/// Without another: a model that costs nothing may be wrong one time in ten more often.
const COST_WEIGHT: f64 = 0.1;

impl Default for Router {
    fn default() -> Self {
        Self {
            enabled: true,
            deadline: Duration::from_millis(500),
            embedder: Embedder::default(),
            packs: None,
            cache: Cache::default(),
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

impl Default for Cache {
    fn default() -> Self {
        Self {
            entries: 10_000,
            ttl: Duration::from_secs(600),
        }
    }
}

impl Router {
    pub fn packs(&self) -> PathBuf {
        self.packs
            .clone()
            .unwrap_or_else(|| state_dir().join("router"))
    }
}

impl Embedder {
    /// The folder: what the file says, or the environment, or `embedder` in the state folder.
    pub fn path(&self) -> PathBuf {
        let of_environment = || std::env::var_os("OPENTRACY_EMBEDDER").map(PathBuf::from);
        self.path
            .clone()
            .or_else(of_environment)
            .unwrap_or_else(|| state_dir().join("embedder"))
    }
}

impl Routing {
    /// What is given up for what; a request may set the weight of the cost itself.
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
