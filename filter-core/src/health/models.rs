//! This VM's copies of the state of the models that it calls.

use std::collections::BTreeMap;

use opentracy_proto::v1::CircuitBreakerPolicy;

use super::breaker::{ModelHealth, Successes};
use crate::host::Host;
use crate::shared_data;

/// The maximum number of models with statistics. A client can name any model, so the least recently
/// used are evicted, and models of the configuration last.
const MAX_MODELS: usize = 500;
/// The number of ticks without a use after which a copy ceases to be kept current: ten seconds.
const MAX_IDLE_TICKS: u32 = 100;

/// Returns the shared-data key of a model's state.
pub fn key(model: &str) -> String {
    format!("health/{model}")
}

/// This VM's copy of a model's state.
#[derive(Debug, Default)]
pub struct CachedHealth {
    /// The shared state at the last exchange, and this VM's results since.
    pub view: ModelHealth,
    /// The successes that are in `view` only.
    pub unwritten: Successes,
    /// Set if `view` is at most a tick old.
    pub is_current: bool,
    idle_ticks: u32,
    /// Set if the configuration names the model.
    is_known: bool,
    /// The number of the last use, of all models.
    last_use: u64,
}

impl CachedHealth {
    /// Updates the shared state, and the copy with it, unless `change` returns false.
    pub fn change(
        &mut self,
        host: &impl Host,
        model: &str,
        mut change: impl FnMut(&mut ModelHealth) -> bool,
    ) {
        let view = &mut self.view;
        shared_data::change(host, &key(model), |health: &mut ModelHealth| {
            let is_changed = change(health);
            *view = *health;
            is_changed
        });
    }

    /// Adds the unwritten successes to the shared state, and copies that.
    pub fn exchange(&mut self, host: &impl Host, model: &str, policy: &CircuitBreakerPolicy) {
        let successes = std::mem::take(&mut self.unwritten);
        let now_ms = host.unix_millis();
        self.change(host, model, |health| {
            health.report_successes(&successes, policy, now_ms);
            !successes.is_empty()
        });
    }
}

#[derive(Debug, Default)]
pub struct HealthCache {
    /// By `provider/model`.
    models: BTreeMap<String, CachedHealth>,
    uses: u64,
}

impl HealthCache {
    /// Records a use of a model, and acts on its state. Returns the result, and the model that was
    /// evicted for it.
    pub fn touch<R>(
        &mut self,
        model: &str,
        is_known: impl FnOnce() -> bool,
        act: impl FnOnce(&mut CachedHealth) -> R,
    ) -> (R, Option<String>) {
        self.uses = self.uses.saturating_add(1);
        if let Some(own) = self.models.get_mut(model) {
            own.last_use = self.uses;
            own.idle_ticks = 0;
            return (act(own), None);
        }
        let mut evicted = None;
        if self.models.len() >= MAX_MODELS {
            let models = self.models.iter();
            let first = models.min_by_key(|(_, own)| (own.is_known, own.last_use));
            evicted = first.map(|(model, _)| model.clone());
        }
        if let Some(evicted) = &evicted {
            self.models.remove(evicted);
        }
        let mut own = CachedHealth {
            is_known: is_known(),
            last_use: self.uses,
            ..CachedHealth::default()
        };
        let result = act(&mut own);
        self.models.insert(model.to_owned(), own);
        (result, evicted)
    }

    /// Returns the models whose copies are kept current. Those that were not used for some time are
    /// read again at their next use.
    pub fn in_use(&mut self) -> impl Iterator<Item = (&String, &mut CachedHealth)> {
        self.models.iter_mut().filter_map(|(model, own)| {
            own.idle_ticks = own.idle_ticks.saturating_add(1);
            own.is_current = own.idle_ticks <= MAX_IDLE_TICKS;
            let is_in_use = own.is_current || !own.unwritten.is_empty();
            is_in_use.then_some((model, own))
        })
    }

    pub fn names(&self) -> Vec<String> {
        self.models.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_names_evict_each_other_before_models_of_the_configuration() {
        let mut models = HealthCache::default();
        let mut touch = |model: &str, is_known| models.touch(model, || is_known, |_| ()).1;
        assert_eq!(touch("openai/gpt-5", true), None);
        for number in 1..MAX_MODELS {
            assert_eq!(touch(&format!("x/{number}"), false), None);
        }
        touch("x/1", false);
        let mut evicted = Vec::new();
        for number in 0..1000 {
            evicted.extend(touch(&format!("y/{number}"), false));
        }
        assert_eq!(models.models.len(), MAX_MODELS);
        assert_eq!(evicted.len(), 1000);
        assert_eq!(evicted.first().map(String::as_str), Some("x/2"));
        assert!(models.models.contains_key("openai/gpt-5"));
    }
}
