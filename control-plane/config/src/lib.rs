//! The configuration of OpenTracy.
//!
//! The types of `opentracy.yaml` are at the top; [`load()`] reads and validates it. [`client_keys`]
//! and [`secrets`] hold what is set while the product runs, [`access_latch`] keeps access closed
//! once it was, and [`snapshot`] is the configuration as the filter receives it.

mod access;
pub mod access_latch;
mod access_log;
mod admin;
pub mod agent_aliases;
mod agents;
pub mod auto_alias;
pub mod catalog;
pub mod client_keys;
pub mod credential;
mod file;
mod keys;
mod limits;
mod load;
pub mod owner;
mod providers;
mod resilience;
mod router;
pub mod secrets;
pub mod snapshot;
mod validate;

pub use access::{Access, ClientKey, GeneratedKey, Jwt};
pub use access_log::AccessLog;
pub use admin::AdminAddress;
pub use agents::{AgentConfig, AgentLimits, McpServer, McpTransport};
pub use file::{
    Alias, Budget, Cache, ClickHouseConfig, Compression, Config, GatewayConfig, Grpc,
    JournalConfig, LogFormat, Management, Period, ProviderEntry, RouteStrategy, StoreConfig,
    Telemetry, TraceOverride, Traces, WhenRouterIsDown, unplaced,
};
pub use keys::Keys;
pub use limits::{Limits, LimitsPolicy, WithoutControlPlane};
pub use load::{LoadError, load, load_text, read_text, state_dir};
pub use providers::{CredentialNeed, DEMO, Key, ResolvedProvider, providers};
pub use resilience::{CircuitBreaker, ResponseCache};
pub use router::{Embedder, EmbeddingEndpoint, RouterCache, RouterConfig, Routing};
pub use validate::Problem;
