//! Active instances of the filter: the VMs, one per worker of each Envoy.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opentracy_proto::constants::POLL_EVERY;
use opentracy_proto::v1;

/// Time without a poll after which a VM is gone.
const GONE_AFTER: Duration = POLL_EVERY.saturating_mul(5);

#[derive(Default)]
pub struct FilterInstances(Mutex<HashMap<String, Vm>>);

struct Vm {
    heard_at: Instant,
    circuit_breakers: Vec<v1::CircuitBreaker>,
    verifies_tokens: bool,
}

impl FilterInstances {
    /// Records a poll. `verifies_tokens` is true if the VM's Envoy verifies JSON Web Tokens.
    pub fn hear(
        &self,
        name: &str,
        circuit_breakers: Vec<v1::CircuitBreaker>,
        verifies_tokens: bool,
    ) {
        if name.is_empty() {
            return;
        }
        let mut vms = self.lock();
        vms.retain(|_, vm| vm.heard_at.elapsed() < GONE_AFTER);
        let vm = Vm {
            heard_at: Instant::now(),
            circuit_breakers,
            verifies_tokens,
        };
        vms.insert(name.to_owned(), vm);
    }

    /// Returns the names of the active VMs.
    pub fn alive(&self) -> HashSet<String> {
        let vms = self.lock();
        let alive = vms
            .iter()
            .filter(|(_, vm)| vm.heard_at.elapsed() < GONE_AFTER);
        alive.map(|(name, _)| name.clone()).collect()
    }

    /// Returns true if the Envoy of every active VM verifies tokens.
    pub fn all_verify_tokens(&self) -> bool {
        let vms = self.lock();
        vms.values()
            .filter(|vm| vm.heard_at.elapsed() < GONE_AFTER)
            .all(|vm| vm.verifies_tokens)
    }

    /// Returns the circuit breakers by model, each as reported by the VM that lets the fewest calls
    /// through.
    pub fn circuit_breakers(&self) -> BTreeMap<String, v1::CircuitBreaker> {
        let mut worst: BTreeMap<String, v1::CircuitBreaker> = BTreeMap::new();
        for vm in self.lock().values() {
            for breaker in &vm.circuit_breakers {
                let known = worst.entry(breaker.model.clone()).or_default();
                if (breaker.state, breaker.opened) >= (known.state, known.opened) {
                    known.clone_from(breaker);
                }
            }
        }
        worst
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vm>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_envoy_that_verifies_no_tokens_is_enough_to_tell_of() {
        let vms = FilterInstances::default();
        assert!(vms.all_verify_tokens(), "no VM has polled yet");
        vms.hear("a", Vec::new(), true);
        vms.hear("b", Vec::new(), false);
        vms.hear("a", Vec::new(), true);
        assert!(!vms.all_verify_tokens());
        vms.hear("b", Vec::new(), true);
        assert!(vms.all_verify_tokens());
    }
}
