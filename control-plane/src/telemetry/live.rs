//! How each model does, since the control plane was started.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use opentracy_proto::v1;

use crate::ingest::Observer;
use crate::store::Quantiles;

/// Models that are told apart; a client can name any.
const MAX_MODELS: usize = 500;
/// Calls that latencies are told of.
const WINDOW: usize = 512;

/// Of the last call in the usual latency.
const WEIGHT_OF_LAST: f64 = 0.1;

/// `provider/model` and what is known of it.
pub type Models = BTreeMap<String, Model>;

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub requests: u64,
    pub errors: u64,
    pub tokens_input: u64,
    pub tokens_output: u64,
    /// USD.
    pub cost: f64,
    /// Microseconds, of the calls that went well: the last ones weigh most.
    usual_latency: Option<f64>,
    /// Microseconds, of the last calls.
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
    /// How long a call of a model, `provider/model`, takes these days.
    pub fn expected_seconds(&self, id: &str) -> Option<f64> {
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        Some(models.get(id)?.usual_latency? / 1e6)
    }
}

impl Model {
    /// Of the last calls.
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
