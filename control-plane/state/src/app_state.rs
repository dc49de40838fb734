//! The state that the servers share.

use std::path::Path;
use std::sync::Arc;

use opentracy_router::LabeledOutcome;
use tokio::sync::{mpsc, watch};

use crate::instances::FilterInstances;
use crate::metrics::Metrics;
use crate::resources::Resources;
use opentracy_agents::Agents;
use opentracy_agents::task::Tasks;
use opentracy_base::health::HealthRegistry;
use opentracy_config::snapshot::ActiveConfig;
use opentracy_ingest::Ingest;
use opentracy_ingest::live::Live;
use opentracy_routing::{Router, learn};
use opentracy_spend::budget::Ledger;
use opentracy_spend::limits::LimitLedger;
use opentracy_spend::prices::Prices;
use opentracy_store::Store;

/// Services that the REST and gRPC handlers use.
#[derive(Clone)]
pub struct AppState {
    pub snapshot: watch::Receiver<Arc<ActiveConfig>>,
    pub store: Arc<dyn Store>,
    pub ingest: Ingest,
    pub ledger: Arc<Ledger>,
    pub prices: Arc<Prices>,
    pub metrics: Arc<Metrics>,
    /// Faults that `/health` shows.
    pub health: HealthRegistry,
    pub live: Arc<Live>,
    pub vms: Arc<FilterInstances>,
    pub agents: Arc<Agents>,
    pub tasks: Arc<Tasks>,
    /// The folder of keys, secrets and other state.
    pub state_dir: Arc<Path>,
    /// Client for our own calls.
    pub http: reqwest::Client,
    pub limits: Arc<LimitLedger>,
    pub resources: Arc<Resources>,
    pub router: Arc<Router>,
    pub fits: Arc<learn::Fits>,
    /// Channel of outcomes that the router learns from.
    pub heard: mpsc::Sender<LabeledOutcome>,
}
