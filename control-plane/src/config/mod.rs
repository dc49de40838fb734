//! The configuration file, `opentracy.yaml`. Every key is described in `docs/configuration.md`.

mod access;
mod access_log;
mod admin;
mod agents;
pub mod auto_alias;
pub mod catalog;
mod keys;
mod limits;
mod load;
mod providers;
mod resilience;
mod router;
mod validate;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use opentracy_translate::cost::Pricing;
use opentracy_translate::redact;
use opentracy_translate::wire_format::Format;
use serde::{Deserialize, Serialize};
use serde_saphyr::{Location, Spanned};
use url::Url;

pub use access::{Access, ClientKey, Jwt, Made};
pub use access_log::AccessLog;
pub use admin::AdminAddress;
pub use agents::{Agent, AgentLimits, McpServer, McpTransport};
pub use keys::Keys;
pub use limits::{Limits, LimitsPolicy, WithoutControlPlane};
pub use load::{LoadError, load, load_text, read_text, state_dir};
pub use providers::{DEMO, Key, Need, Provider, providers};
pub use resilience::{CircuitBreaker, ResponseCache};
pub use router::{Cache as RouterCache, Embedder, EmbeddingEndpoint, Router, Routing};
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
    pub journal: Journal,
    pub telemetry: Telemetry,
    pub router: Router,
    /// What clients are known by.
    pub keys: BTreeMap<String, Spanned<ClientKey>>,
    pub access: Access,
    /// Models with tools, by the names that clients ask for them by.
    pub agents: BTreeMap<String, Spanned<Agent>>,
    pub limits: LimitsPolicy,
    pub circuit_breaker: CircuitBreaker,
    /// Where requests go that name no provider, by endpoint: `provider` or `provider/model`.
    pub endpoints: BTreeMap<String, Spanned<String>>,
}

/// The listener for applications.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gateway {
    pub listen: SocketAddr,
    /// Host names that the gateway answers to; `*` is every name. An Envoy shared with other applications needs exact ones.
    pub domains: Vec<String>,
    /// Envoy's own administration.
    pub admin: AdminAddress,
    /// Serves Envoy's `/stats/prometheus` and nothing else; no listener where it is null.
    pub metrics: Option<SocketAddr>,
    pub max_body_bytes: u32,
    pub access_log: AccessLog,
}

/// The listener for people and their tools: REST.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Management {
    pub listen: SocketAddr,
    /// Serves `/debug/pprof/*`, to those with a key.
    pub profiling: bool,
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
    /// Further keys, by the variables that hold them. Calls are spread over all.
    pub more_api_key_envs: Vec<String>,
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
    pub routing: Routing,
    pub when_router_is_down: WhenRouterIsDown,
    /// Of candidates, for `route: weighted`; 1 where it is not set.
    pub weights: BTreeMap<String, Spanned<u32>>,
    /// Without an answer for so long, the next candidate is asked besides.
    #[serde(with = "humantime_serde::option")]
    pub hedge_after: Option<Duration>,
    pub cache: Option<ResponseCache>,
    pub limits: Limits,
    pub traces: TraceOverride,
    pub budget: Option<Spanned<Budget>>,
}

/// What others are told of calls.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// A collector of OpenTelemetry's, by gRPC.
    pub otlp_endpoint: Option<Url>,
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Text,
    /// An object a line.
    Json,
}

/// What of the policy for traces is different for some calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TraceOverride {
    pub content: Option<bool>,
    pub redact: Option<bool>,
}

/// What may be spent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    #[serde(default)]
    pub period: Period,
    /// USD; beyond it, calls are marked.
    pub soft: Option<f64>,
    /// USD; beyond it, calls are refused.
    pub hard: Option<f64>,
}

/// After which a budget begins anew, in UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    Day,
    #[default]
    Month,
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
    /// Each in its turn.
    RoundRobin,
    /// At random, by weight.
    Weighted,
    /// The one that has been the quickest to begin its answers.
    LowestLatency,
    /// The one that the request costs the least at.
    LowestCost,
    /// Always the same for a session, so that the provider has its prompt in its cache.
    Sticky,
}

/// What becomes of a request of a `route: auto` alias while the control plane does not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenRouterIsDown {
    /// A 503.
    Fail,
    /// The default candidate is tried first, then the others as the file lists them.
    #[default]
    InOrder,
}

/// What is recorded of a call.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Traces {
    pub content: bool,
    pub redact: bool,
    pub max_content_bytes: u32,
    /// What masks, by name.
    pub detectors: Vec<Spanned<String>>,
    /// Regular expressions that mask besides, by the names that stand for them.
    pub patterns: BTreeMap<String, Spanned<String>>,
}

/// Where traces live.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// The SQLite file; `opentracy.db` in the state folder where it is not set.
    pub path: Option<PathBuf>,
    /// Where traces live instead of in a file.
    pub clickhouse: Option<Spanned<ClickHouse>>,
    /// How long a trace is kept.
    #[serde(with = "humantime_serde")]
    pub retention: Duration,
}

/// A ClickHouse server, or a cluster of them. It may hold a password, so it has no `Debug`.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClickHouse {
    /// Its HTTP interface.
    pub url: Url,
    pub database: String,
    pub user: Option<String>,
    pub password: Option<String>,
    /// The environment variable with the password.
    pub password_env: Option<String>,
    /// The cluster's name in ClickHouse's own configuration.
    pub cluster: Option<String>,
    pub compression: Compression,
}

/// Of what travels between here and ClickHouse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    None,
    #[default]
    Lz4,
}

/// Where traces wait for the store.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Journal {
    /// The folder; `journal` in the state folder where it is not set.
    pub path: Option<PathBuf>,
    /// With this much waiting, no more is taken.
    pub max_bytes: u64,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            domains: vec!["*".to_owned()],
            admin: AdminAddress::default(),
            metrics: Some(SocketAddr::from(([127, 0, 0, 1], 9901))),
            max_body_bytes: 32 << 20,
            access_log: AccessLog::default(),
        }
    }
}

impl Default for Management {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
            profiling: false,
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

impl Budget {
    /// What is wrong with it.
    pub fn problem(&self) -> Option<&'static str> {
        let limits = [self.soft, self.hard].into_iter().flatten();
        if limits.clone().count() == 0 {
            return Some("needs `soft` or `hard`, in USD");
        }
        if limits.clone().any(|usd| usd.is_nan() || usd < 0.0) {
            return Some("must not be negative");
        }
        let is_reversed = matches!((self.soft, self.hard), (Some(soft), Some(hard)) if soft > hard);
        is_reversed.then_some("`soft` must not be more than `hard`")
    }
}

impl Alias {
    /// The candidates as they are tried where nothing else orders them: `provider/model`, the default first.
    pub fn in_order(&self) -> Vec<String> {
        let default = self.routing.default.as_ref().map(|default| &default.value);
        let mut candidates: Vec<String> = self
            .candidates
            .iter()
            .map(|candidate| candidate.value.clone())
            .collect();
        // False comes before true, and the sort is stable.
        candidates.sort_by_key(|candidate| Some(candidate) != default);
        candidates
    }
}

impl Store {
    /// The SQLite file.
    pub fn path(&self) -> PathBuf {
        self.path
            .clone()
            .unwrap_or_else(|| state_dir().join("opentracy.db"))
    }
}

impl ClickHouse {
    /// The password, from the file or from the environment.
    pub fn password(&self) -> anyhow::Result<Option<String>> {
        let Some(variable) = &self.password_env else {
            return Ok(self.password.clone());
        };
        std::env::var(variable).map(Some).with_context(|| {
            format!("`store.clickhouse.password_env` names {variable}, which is not set")
        })
    }
}

impl Journal {
    /// The folder.
    pub fn path(&self) -> PathBuf {
        self.path
            .clone()
            .unwrap_or_else(|| state_dir().join("journal"))
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            path: None,
            clickhouse: None,
            retention: Duration::from_secs(90 * 24 * 3600),
        }
    }
}

impl Default for ClickHouse {
    fn default() -> Self {
        Self {
            url: Url::parse("http://127.0.0.1:8123").expect("it is an address"),
            database: "opentracy".to_owned(),
            user: None,
            password: None,
            password_env: None,
            cluster: None,
            compression: Compression::default(),
        }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            path: None,
            max_bytes: 8 << 30,
        }
    }
}

/// A value that stands in no file.
pub fn unplaced<T>(value: T) -> Spanned<T> {
    Spanned::new(value, Location::UNKNOWN, Location::UNKNOWN)
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            content: true,
            redact: false,
            max_content_bytes: 1 << 20,
            detectors: redact::DEFAULT
                .map(|name| unplaced(name.to_owned()))
                .to_vec(),
            patterns: BTreeMap::new(),
        }
    }
}
