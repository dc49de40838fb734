//! Prometheus metrics, under OpenTelemetry's names if it defines them.
//!
//! Source: OpenTelemetry semantic conventions for generative AI metrics, 1.38; names as mapped to
//! Prometheus by the OpenTelemetry specification.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use opentracy_proto::v1;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::instances::FilterInstances;
use opentracy_base::health::{HealthCode, HealthRegistry};
use opentracy_ingest::journal;
use opentracy_ingest::{Ingest, Observer, StoreState};
use opentracy_routing::drift::Drift;
use opentracy_spend::budget::Ledger;
use opentracy_store::Outcome;

/// Maximum number of models with metrics of their own. Bounded, because clients can send any model
/// name and series are never removed.
const MAX_MODELS: usize = 500;

/// Seconds: the bucket bounds that the conventions recommend.
const DURATIONS: [f64; 14] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: String,
    gen_ai_response_model: String,
    /// Empty for a successful call.
    error_type: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenUse {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: String,
    gen_ai_response_model: String,
    gen_ai_token_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Model {
    gen_ai_provider_name: String,
    gen_ai_response_model: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Spender {
    gen_ai_provider_name: String,
    gen_ai_response_model: String,
    alias: String,
    key: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    alias: String,
    key: String,
    status: u32,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    gen_ai_provider_name: String,
    error: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decided {
    alias: String,
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Denied {
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HealthFault {
    component: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BudgetOf {
    owner: &'static str,
    name: String,
}

pub struct Metrics {
    registry: Registry,
    durations: Family<Operation, Histogram>,
    tokens: Family<TokenUse, Histogram>,
    first_tokens: Family<Model, Histogram>,
    cost: Family<Spender, Counter<f64, std::sync::atomic::AtomicU64>>,
    requests: Family<Request, Counter>,
    failures: Family<Failure, Counter>,
    spent: Family<BudgetOf, Gauge<f64, std::sync::atomic::AtomicU64>>,
    backlog: Gauge,
    faults: Family<HealthFault, Gauge>,
    decisions: Family<Decided, Counter>,
    denials: Family<Denied, Counter>,
    rejected_records: Counter,
    circuit_breakers: Family<Model, Gauge>,
    far_share: Gauge<f64, std::sync::atomic::AtomicU64>,
    models: Mutex<HashSet<(String, String)>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let durations = || Histogram::new(DURATIONS);
        let mut metrics = Self {
            registry: Registry::default(),
            durations: Family::new_with_constructor(durations),
            tokens: Family::new_with_constructor(|| Histogram::new(TOKENS)),
            first_tokens: Family::new_with_constructor(durations),
            cost: Family::default(),
            requests: Family::default(),
            failures: Family::default(),
            spent: Family::default(),
            backlog: Gauge::default(),
            faults: Family::default(),
            decisions: Family::default(),
            denials: Family::default(),
            rejected_records: Counter::default(),
            circuit_breakers: Family::default(),
            far_share: Gauge::default(),
            models: Mutex::default(),
        };
        let mut registry = Registry::default();
        registry.register(
            "gen_ai_client_operation_duration_seconds",
            "Duration of a call, to the end of its answer",
            metrics.durations.clone(),
        );
        registry.register(
            "gen_ai_client_token_usage",
            "Tokens of a call",
            metrics.tokens.clone(),
        );
        registry.register(
            "gen_ai_server_time_to_first_token_seconds",
            "Time to the first event of a stream, or the first byte of a body",
            metrics.first_tokens.clone(),
        );
        registry.register("opentracy_cost_usd", "Cost of calls", metrics.cost.clone());
        registry.register(
            "opentracy_requests",
            "Client calls",
            metrics.requests.clone(),
        );
        registry.register(
            "opentracy_failed_attempts",
            "Failed calls to providers",
            metrics.failures.clone(),
        );
        registry.register(
            "opentracy_budget_spent_ratio",
            "Spending relative to a budget's hard limit, or its soft one if it has no hard one",
            metrics.spent.clone(),
        );
        registry.register(
            "opentracy_journal_backlog_bytes",
            "Traces in the journal that the store doesn't have yet",
            metrics.backlog.clone(),
        );
        registry.register(
            "opentracy_health_faults",
            "Active faults, by kind; 0 is healthy",
            metrics.faults.clone(),
        );
        registry.register(
            "opentracy_router_decisions",
            "Calls that needed a router decision, by outcome",
            metrics.decisions.clone(),
        );
        registry.register(
            "opentracy_management_denials",
            "Requests that the management API denied",
            metrics.denials.clone(),
        );
        registry.register(
            "opentracy_ingest_rejected_records",
            "Records from the gateway that were rejected because a number is out of range",
            metrics.rejected_records.clone(),
        );
        registry.register(
            "opentracy_circuit_breaker_state",
            "Circuit breaker of a model: 0 closed, 1 half-open, 2 open; the worst state among Envoy's workers",
            metrics.circuit_breakers.clone(),
        );
        registry.register(
            "opentracy_router_far_prompts_ratio",
            "Share of recent prompts that are unlike those that the router's pack was fitted on",
            metrics.far_share.clone(),
        );
        metrics.registry = registry;
        metrics
    }
}

impl Metrics {
    /// Registers the metrics of calls, and the counters of the journal and the store.
    pub fn new(journal: &journal::JournalCounters, store: &StoreState) -> Self {
        let mut metrics = Self::default();
        let mut register = |name: &str, help: &str, counter: &Counter| {
            metrics.registry.register(name, help, counter.clone());
        };
        register(
            "opentracy_journal_read_errors",
            "Failed reads of the journal; they are retried",
            &journal.read_errors,
        );
        register(
            "opentracy_journal_write_errors",
            "Failed writes of the journal; their traces were not acknowledged",
            &journal.write_errors,
        );
        register(
            "opentracy_journal_bookmark_errors",
            "Failed writes of the journal's checkpoint",
            &journal.bookmark_errors,
        );
        register(
            "opentracy_journal_torn_ends",
            "Unfinished ends of the journal's segments, as a crash leaves them",
            &journal.torn_ends,
        );
        register(
            "opentracy_journal_damaged_places",
            "Places in the journal that could not be recovered",
            &journal.damaged_places,
        );
        register(
            "opentracy_journal_damaged_bytes",
            "Bytes of the journal that could not be recovered",
            &journal.damaged_bytes,
        );
        register(
            "opentracy_journal_lost_frames",
            "Batches of acknowledged traces known to be lost to damage",
            &journal.lost_frames,
        );
        register(
            "opentracy_store_write_errors",
            "Failed writes of the store; they are retried",
            &store.write_errors,
        );
        register(
            "opentracy_store_dead_letters",
            "Records that the store rejected, moved to the dead letters",
            &store.dead_letters,
        );
        metrics
    }

    /// Counts a request that the management API denied.
    pub fn count_denial(&self, reason: &str) {
        let reason = reason.to_owned();
        self.denials.get_or_create(&Denied { reason }).inc();
    }

    /// Counts records that were rejected because a number is out of range.
    pub fn count_rejected_records(&self, records: u32) {
        self.rejected_records.inc_by(records.into());
    }

    /// Renders all metrics in Prometheus' text format.
    pub fn text(
        &self,
        ingest: &Ingest,
        ledger: &Ledger,
        drift: &Drift,
        vms: &FilterInstances,
        health: &HealthRegistry,
    ) -> String {
        for code in HealthCode::ALL {
            let (component, kind) = (code.component(), code.as_str());
            self.faults
                .get_or_create(&HealthFault {
                    component,
                    code: kind,
                })
                .set(i64::try_from(health.count(code)).unwrap_or(i64::MAX));
        }
        self.circuit_breakers.clear();
        for (model, breaker) in vms.circuit_breakers() {
            let (provider, name) = model.split_once('/').unwrap_or_default();
            self.circuit_breakers
                .get_or_create(&Model {
                    gen_ai_provider_name: provider.to_owned(),
                    gen_ai_response_model: name.to_owned(),
                })
                .set(i64::from(breaker.state));
        }
        self.far_share.set(drift.share().unwrap_or_default());
        self.backlog
            .set(i64::try_from(ingest.backlog_bytes()).unwrap_or(i64::MAX));
        self.spent.clear();
        for (owner, budget, spent) in ledger.report() {
            let limit = budget.hard.or(budget.soft).unwrap_or_default();
            let (owner, name) = (owner.kind(), owner.into_name());
            let ratio = if limit > 0.0 {
                spent.usd() / limit
            } else {
                1.0
            };
            self.spent
                .get_or_create(&BudgetOf { owner, name })
                .set(ratio);
        }
        let mut text = String::new();
        // Writing to a string can't fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// Returns a model's labels; `other` past the limit.
    fn model(&self, trace: &v1::Trace) -> (String, String) {
        let model = (trace.provider.clone(), trace.model.clone());
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        if models.contains(&model) || models.len() < MAX_MODELS {
            models.insert(model.clone());
            return model;
        }
        (model.0, "other".to_owned())
    }

    fn count(&self, trace: &v1::Trace) {
        let (provider, model) = self.model(trace);
        let outcome = Outcome::from(trace.outcome()).name();
        self.requests
            .get_or_create(&Request {
                alias: trace.alias.clone(),
                key: trace.key.clone(),
                status: trace.status,
                outcome,
            })
            .inc();
        if let Some(decision) = &trace.decision {
            self.decisions
                .get_or_create(&Decided {
                    alias: trace.alias.clone(),
                    outcome: decision.outcome.clone(),
                })
                .inc();
        }
        let error = trace.error.as_ref().map(|error| error.r#type.clone());
        self.durations
            .get_or_create(&Operation {
                gen_ai_operation_name: "chat",
                gen_ai_provider_name: provider.clone(),
                gen_ai_response_model: model.clone(),
                error_type: error.unwrap_or_default(),
            })
            .observe(trace.latency_micros as f64 / 1e6);
        if let Some(micros) = trace.time_to_first_token_micros {
            self.first_tokens
                .get_or_create(&Model {
                    gen_ai_provider_name: provider.clone(),
                    gen_ai_response_model: model.clone(),
                })
                .observe(micros as f64 / 1e6);
        }
        if let Some(usage) = &trace.usage {
            for (kind, count) in [("input", usage.input), ("output", usage.output)] {
                self.tokens
                    .get_or_create(&TokenUse {
                        gen_ai_operation_name: "chat",
                        gen_ai_provider_name: provider.clone(),
                        gen_ai_response_model: model.clone(),
                        gen_ai_token_type: kind,
                    })
                    .observe(count as f64);
            }
        }
        if let Some(cost) = &trace.cost {
            self.cost
                .get_or_create(&Spender {
                    gen_ai_provider_name: provider,
                    gen_ai_response_model: model,
                    alias: trace.alias.clone(),
                    key: trace.key.clone(),
                })
                .inc_by(cost.total);
        }
    }
}

impl Observer for Metrics {
    fn on_taken(&self, request: &v1::IngestRequest) {
        for trace in &request.traces {
            self.count(trace);
        }
        for attempt in request
            .attempts
            .iter()
            .filter(|attempt| !attempt.error.is_empty())
        {
            self.failures
                .get_or_create(&Failure {
                    gen_ai_provider_name: attempt.provider.clone(),
                    error: attempt.error.clone(),
                })
                .inc();
        }
    }
}
