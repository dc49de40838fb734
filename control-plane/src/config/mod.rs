//! The configuration file, `opentracy.yaml`. Every key is described in `docs/configuration.md`.

mod keys;
mod load;
mod providers;
mod validate;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use opentracy_translate::cost::Pricing;
use opentracy_translate::provider::Format;
use serde::Deserialize;
use serde_saphyr::Spanned;

pub use keys::Keys;
pub use load::{LoadError, load, state_dir};
pub use providers::{DEMO, Key, Need, Provider, providers};
pub use validate::Problem;

/// A whole file. Every key has a default. It may hold API keys, so it has no `Debug`.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub gateway: Gateway,
    pub management: Management,
    pub grpc: Grpc,
    pub providers: BTreeMap<String, Spanned<ProviderEntry>>,
    pub aliases: BTreeMap<String, Spanned<Alias>>,
    /// Prices, by `provider/model`.
    pub prices: BTreeMap<String, Spanned<Pricing>>,
    pub traces: Traces,
    pub store: Store,
}

/// The listener for applications.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gateway {
    pub listen: SocketAddr,
    /// Envoy's own administration.
    pub admin: SocketAddr,
    pub max_body_bytes: u32,
}

/// The listener for people and their tools: REST.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Management {
    pub listen: SocketAddr,
}

/// The listener for the filter.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grpc {
    pub listen: SocketAddr,
}

/// A provider of the operator's own, or what differs from a built-in one. It may hold an API key, so it has no `Debug`.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderEntry {
    pub format: Option<Format>,
    /// The built-in provider whose departures from OpenAI's format it shares.
    pub dialect: Option<Spanned<String>>,
    pub base_url: Option<Spanned<String>>,
    /// What follows the base URL, where it is not the format's own path; `{model}` stands for the model.
    pub path: Option<Spanned<String>>,
    /// Azure's: puts the model, a deployment there, into the path.
    pub api_version: Option<Spanned<String>>,
    /// AWS's or Google's.
    pub region: Option<Spanned<String>>,
    /// Google's.
    pub project: Option<Spanned<String>>,
    /// AWS's: a profile of its own in AWS's files.
    pub profile: Option<String>,
    /// Google's: a service account's key.
    pub credentials_file: Option<PathBuf>,
    /// Who places Anthropic's cache markers where the client sets none.
    pub cache: Cache,
    pub api_key: Option<String>,
    pub api_key_env: Option<String>,
    pub headers: BTreeMap<String, Spanned<String>>,
    #[serde(with = "humantime_serde::option")]
    pub timeout: Option<Duration>,
    #[serde(with = "humantime_serde::option")]
    pub connect_timeout: Option<Duration>,
    pub max_requests: Option<u32>,
}

/// Who places cache markers where the client sets none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cache {
    /// Nobody.
    #[default]
    AsAsked,
    /// The gateway asks Anthropic to place them.
    Auto,
}

/// A name that applications ask for, and the models behind it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alias {
    pub candidates: Vec<Spanned<String>>,
    pub retries: u32,
    #[serde(with = "humantime_serde::option")]
    pub per_try_timeout: Option<Duration>,
    pub route: Route,
    pub when_router_is_down: WhenRouterIsDown,
}

/// How the candidate to begin with is found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// As the file lists them.
    #[default]
    InOrder,
    /// The control plane decides, for each prompt.
    Auto,
}

/// What becomes of a request of a `route: auto` alias while the control plane does not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenRouterIsDown {
    /// A 503.
    #[default]
    Fail,
    /// The candidates are tried as the file lists them.
    InOrder,
}

/// What is recorded of a call.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Traces {
    pub content: bool,
    pub redact: bool,
    pub max_content_bytes: u32,
}

/// Where traces live.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// The SQLite file; `traces.db` in the state folder where it is not set.
    pub path: Option<PathBuf>,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin: SocketAddr::from(([127, 0, 0, 1], 9901)),
            max_body_bytes: 32 << 20,
        }
    }
}

impl Default for Management {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
        }
    }
}

impl Default for Grpc {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 50051)),
        }
    }
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            content: true,
            redact: false,
            max_content_bytes: 1 << 20,
        }
    }
}
