//! In-memory statistics of each model since the control plane started.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use opentracy_proto::v1;

use crate::observer::Observer;
use opentracy_store::Quantiles;

/// Maximum number of models with statistics of their own. Bounded, because clients can send any
/// model name.
const MAX_MODELS: usize = 500;
/// Number of most recent calls per model that the latency quantiles cover.
const WINDOW: usize = 512;

/// Weight of the latest call in the moving average (EWMA) of latency.
const WEIGHT_OF_LAST: f64 = 0.1;

/// Statistics by `provider/model`.
pub type Models = BTreeMap<String, LiveModel>;

#[derive(Debug, Clone, Default)]
pub struct LiveModel {
    pub requests: u64,
    pub errors: u64,
    pub tokens_input: u64,
    pub tokens_output: u64,
    /// USD.
    pub cost: f64,
    /// Microseconds: moving average (EWMA) over successful calls.
    usual_latency: Option<f64>,
    /// Microseconds, of the most recent calls.
    latencies: VecDeque<u64>,
}

#[derive(Default)]
pub struct Live {
    models: Mutex<Models>,
}

impl Live {
    pub fn models(&self) -> Models {
        self.models
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Live {
    /// Returns the recent average latency of a model, `provider/model`, in seconds.
    pub fn expected_seconds(&self, id: &str) -> Option<f64> {
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        Some(models.get(id)?.usual_latency? / 1e6)
    }
}

impl LiveModel {
    /// Returns quantiles of the most recent latencies.
    pub fn latency(&self) -> Option<Quantiles> {
        let mut latencies: Vec<u64> = self.latencies.iter().copied().collect();
        Quantiles::of(&mut latencies)
    }
}

impl Observer for Live {
    fn on_taken(&self, request: &v1::IngestRequest) {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        for trace in request
            .traces
            .iter()
            .filter(|trace| !trace.provider.is_empty())
        {
            let name = format!("{}/{}", trace.provider, trace.model);
            if models.len() >= MAX_MODELS && !models.contains_key(&name) {
                continue;
            }
            let model = models.entry(name).or_default();
            model.requests += 1;
            model.errors += u64::from(trace.error.is_some());
            if let Some(usage) = &trace.usage {
                model.tokens_input += usage.input;
                model.tokens_output += usage.output;
            }
            model.cost += trace.cost.map_or(0.0, |cost| cost.total);
            if trace.error.is_none() {
                let latency = trace.latency_micros as f64;
                let usual = model.usual_latency.get_or_insert(latency);
                *usual += (latency - *usual) * WEIGHT_OF_LAST;
            }
            if model.latencies.len() >= WINDOW {
                model.latencies.pop_front();
            }
            model.latencies.push_back(trace.latency_micros);
        }
    }
}
