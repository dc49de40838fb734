//! Events for operators: each is a line in the log, a counter, and a reason in `/health`.
//!
//! All workers of an Envoy share one table of faults in Envoy's shared data. A worker writes each
//! fault at most once a second, however many requests fail.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use opentracy_proto::constants::AGENTS_PROVIDER;
use opentracy_translate::error::AttemptSummary;

use crate::faults::{self, Fault, FaultKind, Faults};
use crate::host::Host;
use crate::vm::vm_local;
use crate::{metrics, shared_data};

/// The shared-data key of the table.
const SHARED_FAULTS: &str = "faults";
/// The shortest interval between writes of one fault by one VM.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// The interval between reads of the faults that other VMs have reported, so that a success here
/// can resolve them.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const MAX_WORD: usize = 200;

/// Occurrences of a fault in this VM that are not in the table yet.
#[derive(Default)]
struct Unwritten {
    count: u64,
    last_write: Option<Instant>,
}

impl Unwritten {
    /// Returns whether this VM has written the fault within [`WRITE_EVERY`].
    fn is_written(&self, now: Instant) -> bool {
        let last = self.last_write;
        last.is_some_and(|last| now.duration_since(last) < WRITE_EVERY)
    }
}

vm_local! {
    static UNWRITTEN: RefCell<HashMap<String, Unwritten>> = RefCell::default();
    /// The keys of the faults that were present at the last read.
    static PRESENT: RefCell<HashSet<String>> = RefCell::default();
    static LAST_LOOK: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Records an event. `provider` is the label of its metric; `detail` is for people and contains no
/// part of a prompt or a key.
pub fn report(
    host: &impl Host,
    kind: FaultKind,
    provider: Option<&str>,
    subject: &str,
    detail: &str,
) {
    metrics::count_event(host, kind.as_str(), provider);
    let key = faults::key(kind, subject);
    let now = host.now();
    let due = UNWRITTEN.with_borrow_mut(|unwritten| {
        if unwritten.len() > 1000 {
            unwritten.retain(|_, fault| fault.is_written(now));
        }
        let fault = unwritten.entry(key.clone()).or_default();
        fault.count += 1;
        if fault.is_written(now) {
            return None;
        }
        fault.last_write = Some(now);
        Some(std::mem::take(&mut fault.count))
    });
    let Some(count) = due else {
        return;
    };
    let now_ms = host.unix_millis();
    let mut unlogged = None;
    shared_data::change(host, SHARED_FAULTS, |faults: &mut Faults| {
        unlogged = faults.report(kind, subject, detail.to_owned(), count, now_ms);
        true
    });
    PRESENT.with_borrow_mut(|present| present.insert(key));
    if let Some(unlogged) = unlogged {
        let event = kind.as_str();
        log::warn!("event={event} {detail} unlogged={unlogged}");
    }
}

/// Resolves a fault, if it is present. Costs nothing while no fault is present.
pub fn resolve(host: &impl Host, kind: FaultKind, subject: &str) {
    if PRESENT.with_borrow(HashSet::is_empty) {
        return;
    }
    let key = faults::key(kind, subject);
    if !PRESENT.with_borrow_mut(|present| present.remove(&key)) {
        return;
    }
    // The next occurrence counts as new.
    UNWRITTEN.with_borrow_mut(|unwritten| unwritten.remove(&key));
    let now_ms = host.unix_millis();
    shared_data::change(host, SHARED_FAULTS, |faults: &mut Faults| {
        faults.resolve(kind, subject, now_ms)
    });
}

/// Reads the present faults once per [`LOOK_EVERY`].
pub fn on_tick(host: &impl Host) {
    let now = host.now();
    let last = LAST_LOOK.get();
    if last.is_some_and(|last| now.duration_since(last) < LOOK_EVERY) {
        return;
    }
    LAST_LOOK.set(Some(now));
    let keys = present(host)
        .iter()
        .map(|fault| faults::key(fault.kind, &fault.subject))
        .collect();
    PRESENT.set(keys);
}

/// Returns the faults that are present.
pub fn present(host: &impl Host) -> Vec<Fault> {
    shared_data::read::<Faults>(host, SHARED_FAULTS).present(host.unix_millis())
}

/// Records the result of an attempt at a provider.
pub fn on_attempt(host: &impl Host, attempt: &AttemptSummary) {
    let provider = attempt.provider.as_str();
    if provider == AGENTS_PROVIDER {
        return;
    }
    let Some(error) = attempt.error else {
        resolve(host, FaultKind::ProviderFailed, provider);
        resolve(host, FaultKind::ProviderKeyRefused, provider);
        return;
    };
    let kind = match attempt.status {
        Some(401 | 403) => FaultKind::ProviderKeyRefused,
        _ if error.is_models_fault() => FaultKind::ProviderFailed,
        _ => return,
    };
    let model = word(&attempt.model);
    let status = attempt
        .status
        .map_or_else(|| "none".to_owned(), |status| status.to_string());
    let detail = format!(
        "provider={provider} model={model} status={status} error={}",
        error.as_str()
    );
    report(host, kind, Some(provider), provider, &detail);
}

/// Records that the circuit breaker of a model, `provider/model`, has opened or closed.
pub fn on_circuit(host: &impl Host, model: &str, has_opened: bool) {
    let (provider, name) = model.split_once('/').unwrap_or((model, ""));
    let detail = format!("provider={provider} model={}", word(name));
    if has_opened {
        report(
            host,
            FaultKind::CircuitOpened,
            Some(provider),
            model,
            &detail,
        );
    } else {
        resolve(host, FaultKind::CircuitOpened, model);
        report(
            host,
            FaultKind::CircuitClosed,
            Some(provider),
            model,
            &detail,
        );
    }
}

/// Turns a name from a client into one word that is safe to log.
fn word(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    name.chars().take(MAX_WORD).map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_client_is_one_word_in_the_log() {
        assert_eq!(word("gpt-4o event=x\n"), "gpt-4o?event=x?");
        assert_eq!(word(&"x".repeat(500)).len(), MAX_WORD);
    }
}
