//! The configuration file, `opentracy.yaml`. Every key is described in `docs/configuration.md`.

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

use crate::{
    Access, AccessLog, AdminAddress, AgentConfig, CircuitBreaker, ClientKey, Limits, LimitsPolicy,
    ResponseCache, RouterConfig, Routing, state_dir,
};

/// The whole configuration file. Every key has a default. It may hold API keys, so it has no
/// `Debug`.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub gateway: GatewayConfig,
    pub management: Management,
    pub grpc: Grpc,
    pub providers: BTreeMap<String, Spanned<ProviderEntry>>,
    pub aliases: BTreeMap<String, Spanned<Alias>>,
    /// Prices, by `provider/model`.
    pub prices: BTreeMap<String, Spanned<Pricing>>,
    pub traces: Traces,
    pub store: StoreConfig,
    pub journal: JournalConfig,
    pub telemetry: Telemetry,
    pub router: RouterConfig,
    /// Client keys, by name.
    pub keys: BTreeMap<String, Spanned<ClientKey>>,
    pub access: Access,
    /// Models with tools, by the name that clients send as the model.
    pub agents: BTreeMap<String, Spanned<AgentConfig>>,
    pub limits: LimitsPolicy,
    pub circuit_breaker: CircuitBreaker,
    /// The target of requests that name no provider, by endpoint: `provider` or `provider/model`.
    pub endpoints: BTreeMap<String, Spanned<String>>,
}

/// The listener for applications.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[serde(expecting = "struct Gateway")]
pub struct GatewayConfig {
    pub listen: SocketAddr,
    /// Host names that the gateway answers to; `*` matches every name. An Envoy shared with other
    /// applications needs exact ones.
    pub domains: Vec<String>,
    /// Envoy's administration interface.
    pub admin: AdminAddress,
    /// Serves only Envoy's `/stats/prometheus`; null means no listener.
    pub metrics: Option<SocketAddr>,
    pub max_body_bytes: u32,
    pub access_log: AccessLog,
}

/// The management listener: REST, for people and their tools.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Management {
    pub listen: SocketAddr,
    /// Serves `/debug/pprof/*` to callers with a key.
    pub profiling: bool,
}

/// The gRPC listener for the filter.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grpc {
    pub listen: SocketAddr,
}

/// A custom provider, or overrides of a built-in one. It may hold an API key, so it has no `Debug`.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderEntry {
    pub format: Option<Format>,
    /// The built-in provider whose deviations from OpenAI's format this one shares.
    pub dialect: Option<Spanned<String>>,
    pub base_url: Option<Spanned<String>>,
    /// The path after the base URL, if it isn't the format's default; `{model}` stands for the
    /// model.
    pub path: Option<Spanned<String>>,
    /// Azure only: puts the model, which is a deployment there, into the path.
    pub api_version: Option<Spanned<String>>,
    /// AWS and Google only.
    pub region: Option<Spanned<String>>,
    /// Google only.
    pub project: Option<Spanned<String>>,
    /// AWS only: a profile in AWS's configuration files.
    pub profile: Option<String>,
    /// Google only: the key file of a service account.
    pub credentials_file: Option<PathBuf>,
    /// The party that places Anthropic's cache markers if the client sets none.
    pub cache: Cache,
    pub api_key: Option<String>,
    pub api_key_env: Option<String>,
    /// Environment variables with additional keys. Calls are spread over all keys.
    pub more_api_key_envs: Vec<String>,
    pub headers: BTreeMap<String, Spanned<String>>,
    #[serde(with = "humantime_serde::option")]
    pub timeout: Option<Duration>,
    #[serde(with = "humantime_serde::option")]
    pub connect_timeout: Option<Duration>,
    pub max_requests: Option<u32>,
}

/// The party that places cache markers if the client sets none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cache {
    /// No markers are added.
    #[default]
    AsAsked,
    /// The gateway asks Anthropic to place them.
    Auto,
}

/// A name that applications send as the model, and the models behind it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alias {
    pub candidates: Vec<Spanned<String>>,
    pub retries: u32,
    #[serde(with = "humantime_serde::option")]
    pub per_try_timeout: Option<Duration>,
    pub route: RouteStrategy,
    pub routing: Routing,
    pub when_router_is_down: WhenRouterIsDown,
    /// Weights of the candidates for `route: weighted`; 1 if not set.
    pub weights: BTreeMap<String, Spanned<u32>>,
    /// If no answer has come after this time, the next candidate is called in parallel.
    #[serde(with = "humantime_serde::option")]
    pub hedge_after: Option<Duration>,
    pub cache: Option<ResponseCache>,
    pub limits: Limits,
    pub traces: TraceOverride,
    pub budget: Option<Spanned<Budget>>,
}

/// Exported telemetry.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// An OpenTelemetry collector, over gRPC.
    pub otlp_endpoint: Option<Url>,
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Overrides of the trace policy for some calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TraceOverride {
    pub content: Option<bool>,
    pub redact: Option<bool>,
}

/// A spending limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    #[serde(default)]
    pub period: Period,
    /// USD; calls beyond it are marked.
    pub soft: Option<f64>,
    /// USD; calls beyond it are refused.
    pub hard: Option<f64>,
}

/// The interval after which a budget starts again, in UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    Day,
    #[default]
    Month,
}

/// The strategy that picks the first candidate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[serde(expecting = "enum Route")]
pub enum RouteStrategy {
    /// In the order of the file.
    #[default]
    InOrder,
    /// The control plane decides, for each prompt.
    Auto,
    /// Round robin.
    RoundRobin,
    /// Random, by weight.
    Weighted,
    /// The one with the lowest moving average (EWMA) of the time to the first byte.
    LowestLatency,
    /// The one with the lowest estimated cost for the request.
    LowestCost,
    /// Session affinity: always the same for a session, so that the provider has its prompt in its
    /// cache.
    Sticky,
}

/// The handling of requests to a `route: auto` alias while the control plane does not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenRouterIsDown {
    /// Returns a 503.
    Fail,
    /// Tries the default candidate first, then the others in the order of the file.
    #[default]
    InOrder,
}

/// The trace policy.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Traces {
    pub content: bool,
    pub redact: bool,
    pub max_content_bytes: u32,
    /// Names of the detectors whose matches are masked.
    pub detectors: Vec<Spanned<String>>,
    /// Additional regular expressions whose matches are masked, by the name that replaces the
    /// match.
    pub patterns: BTreeMap<String, Spanned<String>>,
}

/// The trace store.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[serde(expecting = "struct Store")]
pub struct StoreConfig {
    /// The SQLite file; `opentracy.db` in the state folder if not set.
    pub path: Option<PathBuf>,
    /// A ClickHouse server to use instead of the file.
    pub clickhouse: Option<Spanned<ClickHouseConfig>>,
    /// The time for which a trace is kept.
    #[serde(with = "humantime_serde")]
    pub retention: Duration,
}

/// A ClickHouse server, or a cluster of them. It may hold a password, so it has no `Debug`.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[serde(expecting = "struct ClickHouse")]
pub struct ClickHouseConfig {
    /// Its HTTP interface.
    pub url: Url,
    pub database: String,
    pub user: Option<String>,
    pub password: Option<String>,
    /// The environment variable with the password.
    pub password_env: Option<String>,
    /// The cluster's name in ClickHouse's configuration.
    pub cluster: Option<String>,
    pub compression: Compression,
}

/// Compression of the traffic to and from ClickHouse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    None,
    #[default]
    Lz4,
}

/// The journal that buffers traces on their way to the store.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[serde(expecting = "struct Journal")]
pub struct JournalConfig {
    /// The folder; `journal` in the state folder if not set.
    pub path: Option<PathBuf>,
    /// Size at which no more traces are accepted.
    pub max_bytes: u64,
}

impl Default for GatewayConfig {
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
    /// Returns the reason why the budget is invalid.
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
    /// Returns the candidates in their default order as `provider/model`, the default candidate
    /// first.
    pub fn in_order(&self) -> Vec<String> {
        let default = self.routing.default.as_ref().map(|default| &default.value);
        let mut candidates: Vec<String> = self
            .candidates
            .iter()
            .map(|candidate| candidate.value.clone())
            .collect();
        // The sort is stable, and false sorts before true.
        candidates.sort_by_key(|candidate| Some(candidate) != default);
        candidates
    }
}

impl StoreConfig {
    /// Returns the path of the SQLite file.
    pub fn path(&self) -> PathBuf {
        self.path
            .clone()
            .unwrap_or_else(|| state_dir().join("opentracy.db"))
    }
}

impl ClickHouseConfig {
    /// Returns the password from the file or from the environment.
    pub fn password(&self) -> anyhow::Result<Option<String>> {
        let Some(variable) = &self.password_env else {
            return Ok(self.password.clone());
        };
        std::env::var(variable).map(Some).with_context(|| {
            format!("`store.clickhouse.password_env` names {variable}, which is not set")
        })
    }
}

impl JournalConfig {
    /// Returns the path of the folder.
    pub fn path(&self) -> PathBuf {
        self.path
            .clone()
            .unwrap_or_else(|| state_dir().join("journal"))
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            path: None,
            clickhouse: None,
            retention: Duration::from_secs(90 * 24 * 3600),
        }
    }
}

impl Default for ClickHouseConfig {
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

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            path: None,
            max_bytes: 8 << 30,
        }
    }
}

/// Wraps a value that comes from no file.
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
