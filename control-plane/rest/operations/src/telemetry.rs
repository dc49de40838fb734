//! `GET /metrics` for Prometheus, `GET /statsz` for people.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use opentracy_proto::v1::{self, CircuitBreakerState};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::analytics::Percentiles;
use crate::envoy_stats::{self, ProviderBreaker};
use opentracy_agents::McpHealth;
use opentracy_base::health::{HealthCode, HealthReason};
use opentracy_ingest::StoreFigures;
use opentracy_ingest::live::LiveModel;
use opentracy_rest::endpoints::{Callers, Endpoints};
use opentracy_state::AppState;

/// Registers the endpoints of this file.
pub fn endpoints() -> Endpoints {
    Endpoints::of(Callers::Admins)
        .on_gateway()
        .routes(routes!(metrics))
        .routes(routes!(statsz))
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Returns metrics in Prometheus' text format.
#[utoipa::path(
    get,
    path = "/metrics",
    responses((status = OK, body = String, content_type = "application/openmetrics-text"))
)]
pub async fn metrics(State(shared): State<AppState>) -> Response {
    let text = shared.metrics.text(
        &shared.ingest,
        &shared.ledger,
        &shared.router.drift,
        &shared.vms,
        &shared.health,
    );
    ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response()
}

#[derive(Serialize, ToSchema)]
pub struct Statsz {
    /// By `provider/model`, since the control plane started.
    models: BTreeMap<String, ModelFigures>,
    /// By provider; `null` if Envoy does not answer.
    circuit_breakers: Option<BTreeMap<String, ProviderBreaker>>,
    /// By `provider/model`: the filter's circuit breaker, as seen by the worker that lets the
    /// fewest calls through.
    model_circuit_breakers: BTreeMap<String, ModelCircuitBreaker>,
    /// By agent and server: health of the MCP servers that were used since the start.
    mcp_servers: BTreeMap<String, BTreeMap<String, McpHealth>>,
    budgets: Vec<BudgetFigures>,
    /// The active faults, as in `/health`.
    reasons: Vec<HealthReason>,
    journal: JournalFigures,
    /// Writes to the store.
    store: StoreFigures,
    /// Bytes of traces in the journal that the store doesn't have yet.
    journal_backlog_bytes: u64,
}

/// Errors of the journal since the start.
#[derive(Serialize, ToSchema)]
pub struct JournalFigures {
    /// Segments that can't be read at the moment; they are kept and retried.
    unreadable_segments: usize,
    read_errors: u64,
    write_errors: u64,
    bookmark_errors: u64,
    /// Unfinished ends of segments, as a crash leaves them.
    torn_ends: u64,
    /// Places in segments that could not be recovered.
    damaged_places: u64,
    damaged_bytes: u64,
    /// Batches of traces known to have been lost there.
    lost_frames: u64,
}

impl JournalFigures {
    fn new(shared: &AppState) -> Self {
        let figures = shared.ingest.journal_figures();
        Self {
            unreadable_segments: shared.health.count(HealthCode::JournalRead),
            read_errors: figures.read_errors.get(),
            write_errors: figures.write_errors.get(),
            bookmark_errors: figures.bookmark_errors.get(),
            torn_ends: figures.torn_ends.get(),
            damaged_places: figures.damaged_places.get(),
            damaged_bytes: figures.damaged_bytes.get(),
            lost_frames: figures.lost_frames.get(),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct ModelCircuitBreaker {
    /// `closed`, `half_open` or `open`.
    state: &'static str,
    /// Number of times it opened.
    opened: u64,
    /// Time until the next probe; 0 if it is not open.
    open_for_ms: u64,
}

impl From<v1::CircuitBreaker> for ModelCircuitBreaker {
    fn from(breaker: v1::CircuitBreaker) -> Self {
        Self {
            state: match breaker.state() {
                CircuitBreakerState::Closed => "closed",
                CircuitBreakerState::HalfOpen => "half_open",
                CircuitBreakerState::Open => "open",
            },
            opened: breaker.opened,
            open_for_ms: breaker.open_for_ms,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct ModelFigures {
    requests: u64,
    errors: u64,
    tokens_input: u64,
    tokens_output: u64,
    /// USD.
    cost: f64,
    /// Percentiles over the most recent 512 calls.
    latency_ms: Option<Percentiles>,
}

#[derive(Serialize, ToSchema)]
pub struct BudgetFigures {
    /// `key` or `alias`.
    owner: &'static str,
    name: String,
    /// USD, in the current period.
    spent: f64,
    /// USD.
    soft: Option<f64>,
    /// USD.
    hard: Option<f64>,
}

/// Returns the health of each model, provider and budget.
#[utoipa::path(get, path = "/statsz", responses((status = OK, body = Statsz)))]
pub async fn statsz(State(shared): State<AppState>) -> Json<Statsz> {
    let snapshot = shared.snapshot.borrow().clone();
    let breakers = envoy_stats::circuit_breakers(&snapshot.config.gateway.admin).await;
    let of_provider = |mut breakers: BTreeMap<String, ProviderBreaker>| {
        let providers = snapshot.providers.values();
        providers
            .filter_map(|provider| {
                let breaker = breakers.remove(&provider.envoy_cluster())?;
                Some((provider.name.clone(), breaker))
            })
            .collect()
    };
    let models = shared.live.models().into_iter();
    let budgets = shared.ledger.report().into_iter();
    Json(Statsz {
        models: models
            .map(|(name, model)| (name, ModelFigures::from(model)))
            .collect(),
        circuit_breakers: breakers.map(of_provider),
        model_circuit_breakers: shared
            .vms
            .circuit_breakers()
            .into_iter()
            .map(|(model, breaker)| (model, breaker.into()))
            .collect(),
        mcp_servers: shared.agents.health(),
        budgets: budgets
            .map(|(owner, budget, spent)| BudgetFigures {
                owner: owner.kind(),
                name: owner.into_name(),
                spent: spent.usd(),
                soft: budget.soft,
                hard: budget.hard,
            })
            .collect(),
        reasons: shared.health.reasons(),
        journal: JournalFigures::new(&shared),
        store: shared.ingest.store_figures(),
        journal_backlog_bytes: shared.ingest.backlog_bytes(),
    })
}

impl From<LiveModel> for ModelFigures {
    fn from(model: LiveModel) -> Self {
        Self {
            requests: model.requests,
            errors: model.errors,
            tokens_input: model.tokens_input,
            tokens_output: model.tokens_output,
            cost: model.cost,
            latency_ms: model.latency().map(Percentiles::from),
        }
    }
}
