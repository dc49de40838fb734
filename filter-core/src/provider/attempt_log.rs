//! The log of attempts for each request in flight.
//!
//! Envoy runs all attempts of a request on one worker, so the log can live in this VM's memory. It
//! travels to the gateway stage in a header of the answer.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::host::Host;
use crate::plan::LoggedAttempt;
use crate::vm::vm_local;

/// The age at which an entry is evicted. A request that was canceled between two attempts leaves
/// its entry behind, and no request lasts this long.
const FORGET_AFTER: Duration = Duration::from_secs(3600);
/// The number of entries above which old ones are evicted.
const MANY: usize = 1000;

struct Entry {
    since: Instant,
    attempts: Vec<LoggedAttempt>,
}

vm_local! {
    static LOG: RefCell<HashMap<String, Entry>> = RefCell::default();
}

/// Adds an attempt and returns all attempts of the request so far, in order.
pub fn add(host: &impl Host, trace_id: &str, attempt: LoggedAttempt) -> Vec<LoggedAttempt> {
    LOG.with_borrow_mut(|log| {
        let entry = log.entry(trace_id.to_owned()).or_insert_with(|| Entry {
            since: host.now(),
            attempts: Vec::new(),
        });
        let place = entry
            .attempts
            .partition_point(|earlier| earlier.number <= attempt.number);
        entry.attempts.insert(place, attempt);
        entry.attempts.clone()
    })
}

/// Removes the entry of an answered request.
pub fn forget(trace_id: &str) {
    LOG.with_borrow_mut(|log| log.remove(trace_id));
}

pub fn forget_old(host: &impl Host) {
    LOG.with_borrow_mut(|log| {
        if log.len() > MANY {
            let now = host.now();
            log.retain(|_, entry| now.duration_since(entry.since) < FORGET_AFTER);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_envoy::FakeEnvoy;
    use opentracy_translate::error::AttemptSummary;

    fn attempt(number: u32) -> LoggedAttempt {
        LoggedAttempt {
            number,
            summary: AttemptSummary {
                provider: "p".to_owned(),
                model: "m".to_owned(),
                status: None,
                error: None,
                latency_ms: None,
                retry_after: None,
            },
        }
    }

    #[test]
    fn attempts_are_told_in_order_whatever_order_they_end_in() {
        let host = FakeEnvoy::new();
        add(&host, "t", attempt(2));
        let numbers: Vec<u32> = add(&host, "t", attempt(1))
            .iter()
            .map(|attempt| attempt.number)
            .collect();
        assert_eq!(numbers, [1, 2]);
        forget("t");
        assert_eq!(add(&host, "t", attempt(1)).len(), 1);
    }
}
