//! The order in which an alias's candidates are tried, unless the control plane decides it.

use std::cell::RefCell;
use std::collections::HashMap;

use opentracy_proto::v1::{self, Strategy};
use opentracy_translate::cost::Usage;
use opentracy_translate::error::ApiError;
use opentracy_translate::hash;
use sha2::{Digest as _, Sha256};

use crate::gateway::planner::ProviderModel;
use crate::health;
use crate::host::Host;
use crate::small_sort::sort_by_key;
use crate::snapshot::Snapshot;
use crate::vm::vm_local;

/// The maximum bytes of a conversation that identify it.
const STICKY_BYTES: usize = 1024;

vm_local! {
    /// The number of the next turn, by alias.
    static TURNS: RefCell<HashMap<String, usize>> = RefCell::default();
}

/// The properties of a request that an order may depend on.
pub struct StrategyInput<'a> {
    /// Used as a random number.
    pub trace_id: &'a str,
    /// The part of a request that stays the same throughout a conversation.
    pub sticky: &'a str,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Returns a model's latency to the beginning of an answer; 0 if unknown.
    pub latency_us: &'a dyn Fn(&str) -> u64,
}

/// Returns the session, the user, or the beginning of the conversation: the first that exists.
pub fn sticky<'a>(session: Option<&'a str>, user: &'a str, conversation: &'a str) -> &'a str {
    match session {
        Some(session) => session,
        None if !user.is_empty() => user,
        None => {
            let mut end = conversation.len().min(STICKY_BYTES);
            while !conversation.is_char_boundary(end) {
                end -= 1;
            }
            conversation.get(..end).unwrap_or_default()
        }
    }
}

/// Sorts the candidates by their alias's strategy.
pub fn order(
    candidates: &mut Vec<ProviderModel>,
    alias: &v1::Alias,
    input: &StrategyInput<'_>,
    snapshot: &Snapshot,
) {
    match alias.strategy() {
        Strategy::InOrder | Strategy::Auto => {}
        Strategy::RoundRobin => {
            let turn = TURNS.with_borrow_mut(|turns| {
                let turn = turns.entry(alias.name.clone()).or_default();
                *turn = turn.wrapping_add(1);
                turn.wrapping_sub(1)
            });
            let count = candidates.len().max(1);
            candidates.rotate_left(turn % count);
        }
        Strategy::Weighted => {
            let weight = |candidate: &ProviderModel| {
                let id = candidate.id();
                let index = alias.candidates.iter().position(|other| *other == id);
                let weight = index.and_then(|index| alias.weights.get(index));
                u128::from(weight.copied().unwrap_or(1))
            };
            let total: u128 = candidates.iter().map(weight).sum();
            let mut at = hash::fnv1a(input.trace_id.as_bytes()) % total.max(1);
            let chosen = candidates.iter().position(|candidate| {
                let own = weight(candidate);
                let is_it = at < own;
                at = at.saturating_sub(own);
                is_it
            });
            if let Some(chosen) = chosen {
                let candidate = candidates.remove(chosen);
                candidates.insert(0, candidate);
            }
        }
        // A candidate without a measurement comes first, so that it gets one.
        Strategy::LowestLatency => {
            sort_by_key(candidates, |candidate| (input.latency_us)(&candidate.id()));
        }
        // The bits of numbers that aren't negative are in the order of the numbers.
        Strategy::LowestCost => sort_by_key(candidates, |candidate| {
            cost(candidate, input, snapshot).to_bits()
        }),
        // Rendezvous hashing: adding or removing a candidate doesn't move other sessions.
        Strategy::Sticky => sort_by_key(candidates, |candidate| {
            Sha256::digest(format!("{}\n{}", candidate.id(), input.sticky)).to_vec()
        }),
    }
}

/// Returns the cost of a request; the maximum if the price is unknown.
fn cost(candidate: &ProviderModel, input: &StrategyInput<'_>, snapshot: &Snapshot) -> f64 {
    let usage = Usage {
        input: input.input_tokens,
        output: input.output_tokens,
        ..Usage::default()
    };
    let pricing = snapshot
        .model(&candidate.provider.name, &candidate.model)
        .pricing;
    let cost = pricing.and_then(|pricing| pricing.cost(&usage));
    cost.map_or(f64::MAX, |cost| cost.total.0)
}

/// Moves candidates with an open circuit breaker, or whose provider asked for a pause, to the end.
/// Returns the seconds to wait if none may be called.
pub fn by_health(host: &impl Host, candidates: &mut Vec<ProviderModel>) -> Option<u64> {
    let now_ms = host.unix_millis();
    let place = |candidate: &ProviderModel| {
        let health = health::of(host, &candidate.id());
        (!health.may_be_called(now_ms), health.is_resting(now_ms))
    };
    if candidates.len() > 1 {
        sort_by_key(candidates, place);
    }
    let first = health::of(host, &candidates.first()?.id());
    (!first.may_be_called(now_ms)).then(|| first.wait_seconds(now_ms))
}

/// Returns the seconds until a model may be called; `None` if it may be called now.
pub fn wait_for(host: &impl Host, model: &str) -> Option<u64> {
    if health::take_turn(host, model) {
        return None;
    }
    Some(health::of(host, model).wait_seconds(host.unix_millis()))
}

/// Returns the error for a model whose circuit breaker is open.
pub fn circuit_open(model: &str, seconds: u64) -> ApiError {
    let message = format!(
        "{model} has failed too often recently and is not called for {seconds} s. Try again then, or use an alias with other candidates"
    );
    ApiError {
        retry_after: Some(seconds),
        ..ApiError::new(503, message).with_code("circuit_open")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::planner::resolve;
    use opentracy_proto::v1;

    fn snapshot(strategy: Strategy, weights: &[u32]) -> Snapshot {
        let provider = |name: &str| v1::Provider {
            name: name.to_owned(),
            ..v1::Provider::default()
        };
        let model = |provider: &str, price: f64| v1::Model {
            provider: provider.to_owned(),
            name: "m".to_owned(),
            pricing: Some(v1::Pricing {
                input: Some(price),
                output: Some(price),
                ..v1::Pricing::default()
            }),
            ..v1::Model::default()
        };
        let alias = v1::Alias {
            name: "smart".to_owned(),
            candidates: ["a/m", "b/m", "c/m"].map(str::to_owned).to_vec(),
            strategy: strategy.into(),
            weights: weights.to_vec(),
            ..v1::Alias::default()
        };
        Snapshot::new(
            "1".to_owned(),
            v1::Snapshot {
                providers: ["a", "b", "c"].map(provider).to_vec(),
                aliases: vec![alias],
                models: vec![model("a", 3.0), model("b", 1.0)],
                ..v1::Snapshot::default()
            },
        )
    }

    fn first(snapshot: &Snapshot, trace_id: &str, sticky: &str) -> String {
        let mut target = resolve(snapshot, "smart").unwrap();
        let input = StrategyInput {
            trace_id,
            sticky,
            input_tokens: 10,
            output_tokens: 10,
            latency_us: &|model| match model {
                "a/m" => 30,
                "b/m" => 20,
                _ => 10,
            },
        };
        let alias = target.alias.unwrap();
        order(&mut target.candidates, alias, &input, snapshot);
        assert_eq!(target.candidates.len(), 3, "nothing is lost");
        target.candidates[0].provider.name.clone()
    }

    #[test]
    fn each_has_its_turn() {
        let snapshot = snapshot(Strategy::RoundRobin, &[]);
        let turns: Vec<String> = (0..4).map(|_| first(&snapshot, "", "")).collect();
        assert_eq!(turns, ["a", "b", "c", "a"]);
    }

    #[test]
    fn weights_are_shares() {
        let snapshot = snapshot(Strategy::Weighted, &[1, 0, 3]);
        let mut counts = [0; 3];
        for number in 0..4000 {
            let name = first(&snapshot, &format!("trace-{number}"), "");
            counts[usize::from(name.as_bytes()[0] - b'a')] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((900..1100).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn the_cheapest_is_first_and_what_has_no_price_last() {
        let snapshot = snapshot(Strategy::LowestCost, &[]);
        assert_eq!(first(&snapshot, "", ""), "b");
    }

    #[test]
    fn the_quickest_is_first() {
        let snapshot = snapshot(Strategy::LowestLatency, &[]);
        assert_eq!(first(&snapshot, "", ""), "c");
    }

    #[test]
    fn a_session_stays_where_it_is() {
        let snapshot = snapshot(Strategy::Sticky, &[]);
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..50 {
            let session = format!("session {number}");
            let name = first(&snapshot, "x", &session);
            assert_eq!(name, first(&snapshot, "y", &session));
            seen.insert(name);
        }
        assert_eq!(seen.len(), 3, "sessions are spread");
    }
}
