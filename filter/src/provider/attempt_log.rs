//! What was tried for each request, while it is under way.
//!
//! Envoy runs all attempts of a request on one worker, so they meet in this VM's memory. The list travels to the gateway
//! stage with the answer, in a header.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use opentracy_translate::error::AttemptSummary;

/// Requests that were given up between two attempts leave their list behind; nothing lasts this long.
const FORGET_AFTER: Duration = Duration::from_secs(3600);
/// How many lists make a look for old ones worth while.
const MANY: usize = 1000;

struct Entry {
    since: Instant,
    attempts: Vec<(u32, AttemptSummary)>,
}

thread_local! {
    static LOG: RefCell<HashMap<String, Entry>> = RefCell::default();
}

/// Adds an attempt and returns all that were made for the request so far, in order.
pub fn add(trace_id: &str, number: u32, attempt: AttemptSummary) -> Vec<AttemptSummary> {
    LOG.with_borrow_mut(|log| {
        let entry = log.entry(trace_id.to_owned()).or_insert_with(|| Entry {
            since: Instant::now(),
            attempts: Vec::new(),
        });
        entry.attempts.push((number, attempt));
        entry.attempts.sort_by_key(|(number, _)| *number);
        entry.attempts.iter().map(|(_, attempt)| attempt.clone()).collect()
    })
}

/// The request is answered.
pub fn forget(trace_id: &str) {
    LOG.with_borrow_mut(|log| log.remove(trace_id));
}

pub fn forget_old() {
    LOG.with_borrow_mut(|log| {
        if log.len() > MANY {
            log.retain(|_, entry| entry.since.elapsed() < FORGET_AFTER);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(provider: &str) -> AttemptSummary {
        AttemptSummary {
            provider: provider.to_owned(),
            model: "m".to_owned(),
            status: None,
            error: None,
            latency_ms: None,
        }
    }

    #[test]
    fn attempts_are_told_in_order_whatever_order_they_end_in() {
        add("t", 2, attempt("b"));
        let all = add("t", 1, attempt("a"));
        let providers: Vec<&str> = all.iter().map(|attempt| attempt.provider.as_str()).collect();
        assert_eq!(providers, ["a", "b"]);
        forget("t");
        assert_eq!(add("t", 1, attempt("c")).len(), 1);
    }
}
