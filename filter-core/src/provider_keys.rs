//! Selection of a provider's key for a request. A key that was refused or rate-limited gets a
//! cooldown.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::host::Host;
use crate::snapshot::Provider;
use crate::vm::vm_local;

/// The cooldown of a rate-limited key if the provider names none.
const REST: Duration = Duration::from_secs(10);
/// The cooldown of a refused key.
const REFUSED_REST: Duration = Duration::from_secs(60);
const LONGEST_REST: Duration = Duration::from_secs(600);

#[derive(Default)]
struct Resting {
    /// The end of the cooldown, by provider and number.
    until: HashMap<(String, usize), Instant>,
    /// The number of the next key, by provider.
    next: HashMap<String, usize>,
}

vm_local! {
    static RESTING: RefCell<Resting> = RefCell::default();
}

/// Returns the number of the key to use: 0 for the first.
pub fn choose(host: &impl Host, provider: &Provider) -> usize {
    if provider.keys.is_empty() {
        return 0;
    }
    RESTING.with_borrow_mut(|resting| {
        resting.choose(&provider.name, provider.keys.len() + 1, host.now())
    })
}

/// Records the status that a request with a key got.
pub fn report(
    host: &impl Host,
    provider: &Provider,
    number: usize,
    status: u16,
    retry_after: Option<u64>,
) {
    let rest = match status {
        401 | 403 => REFUSED_REST,
        429 => retry_after.map_or(REST, Duration::from_secs),
        _ => return,
    };
    if !provider.keys.is_empty() {
        let until = host.now() + rest.min(LONGEST_REST);
        RESTING.with_borrow_mut(|resting| {
            resting.until.insert((provider.name.clone(), number), until)
        });
    }
}

impl Resting {
    /// Takes the keys in turn (round robin). If all are cooling down, takes the one whose cooldown
    /// ends first.
    fn choose(&mut self, provider: &str, count: usize, now: Instant) -> usize {
        let next = self.next.entry(provider.to_owned()).or_default();
        let turn = *next;
        *next = next.wrapping_add(1);
        let until = |number: &usize| {
            let until = self.until.get(&(provider.to_owned(), *number));
            until.copied().filter(|until| *until > now)
        };
        let in_turn = (0..count).map(|step| turn.wrapping_add(step) % count);
        in_turn.min_by_key(until).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_take_turns_and_rest() {
        let (mut resting, now) = (Resting::default(), Instant::now());
        let choose = |resting: &mut Resting| resting.choose("p", 3, now);
        let turns: Vec<usize> = (0..4).map(|_| choose(&mut resting)).collect();
        assert_eq!(turns, [0, 1, 2, 0]);
        let rest = |resting: &mut Resting, number, seconds| {
            let until = now + Duration::from_secs(seconds);
            resting.until.insert(("p".to_owned(), number), until);
        };
        rest(&mut resting, 1, 5);
        assert_ne!(choose(&mut resting), 1);
        rest(&mut resting, 0, 9);
        rest(&mut resting, 2, 7);
        assert_eq!(
            choose(&mut resting),
            1,
            "all are cooling down, and its cooldown ends first"
        );
    }
}
