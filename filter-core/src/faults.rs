//! The table of recent faults for `/health`, with the time when each was last logged.
//!
//! The table is pure data; [`events`](crate::events) stores it where all workers can read it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The interval between log lines of a fault that persists, in milliseconds.
pub const LOG_EVERY_MS: u64 = 10_000;
/// The maximum number of faults in the table. Subjects are providers and models, so real
/// configurations stay below it.
const MAX_FAULTS: usize = 200;

/// The kinds of event that are logged, counted and shown in `/health`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// An attempt failed because of the provider.
    ProviderFailed,
    /// A provider answered the gateway's own key with 401 or 403.
    ProviderKeyRefused,
    CircuitOpened,
    CircuitClosed,
    ConfigurationRejected,
    ControlPlaneUnreachable,
    TraceDropped,
}

impl FaultKind {
    /// Returns the value of `event=` in the log and of the label `opentracy_event` in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProviderFailed => "provider_failed",
            Self::ProviderKeyRefused => "provider_key_refused",
            Self::CircuitOpened => "circuit_opened",
            Self::CircuitClosed => "circuit_closed",
            Self::ConfigurationRejected => "configuration_rejected",
            Self::ControlPlaneUnreachable => "control_plane_unreachable",
            Self::TraceDropped => "trace_dropped",
        }
    }

    /// Returns the code of the reason in `/health`; `None` for an event that isn't a fault.
    pub const fn code(self) -> Option<&'static str> {
        match self {
            Self::ProviderFailed => Some("provider_failing"),
            Self::ProviderKeyRefused => Some("provider_key_refused"),
            Self::CircuitOpened => Some("circuit_open"),
            Self::CircuitClosed => None,
            Self::ConfigurationRejected => Some("configuration_rejected"),
            Self::ControlPlaneUnreachable => Some("control_plane_unreachable"),
            Self::TraceDropped => Some("traces_dropped"),
        }
    }

    /// Returns the part of the system that has the fault.
    pub const fn component(self) -> &'static str {
        match self {
            Self::ProviderFailed
            | Self::ProviderKeyRefused
            | Self::CircuitOpened
            | Self::CircuitClosed => "provider",
            Self::ConfigurationRejected | Self::TraceDropped => "gateway",
            Self::ControlPlaneUnreachable => "control_plane",
        }
    }

    /// Returns how long a fault is shown after its last occurrence unless it is resolved, in
    /// milliseconds.
    const fn shown_ms(self) -> u64 {
        match self {
            Self::ProviderFailed => 30_000,
            Self::ProviderKeyRefused | Self::TraceDropped => 60_000,
            Self::CircuitOpened => 600_000,
            Self::CircuitClosed => 0,
            // Reported again every second while it lasts.
            Self::ControlPlaneUnreachable => 5_000,
            Self::ConfigurationRejected => u64::MAX,
        }
    }
}

/// A fault in the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub kind: FaultKind,
    /// The provider or model that has the fault; empty if the kind has only one subject.
    pub subject: String,
    /// The last error.
    pub detail: String,
    /// The time of the first occurrence since the fault was last resolved.
    pub since_ms: u64,
    last_ms: u64,
    /// Occurrences since then.
    pub count: u64,
    logged_ms: u64,
    /// Occurrences that were not logged.
    suppressed: u64,
    is_resolved: bool,
}

impl Fault {
    fn is_present(&self, now_ms: u64) -> bool {
        let shown_until = self.last_ms.saturating_add(self.kind.shown_ms());
        !self.is_resolved && now_ms < shown_until
    }

    /// Returns whether the entry is neither shown nor needed to limit logging.
    fn is_over(&self, now_ms: u64) -> bool {
        !self.is_present(now_ms) && now_ms >= self.logged_ms.saturating_add(LOG_EVERY_MS)
    }
}

/// The faults of all workers of an Envoy.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Faults(BTreeMap<String, Fault>);

impl Faults {
    /// Records `count` occurrences of a fault. If it is to be logged now, returns the number of
    /// earlier occurrences that were not logged.
    pub fn report(
        &mut self,
        kind: FaultKind,
        subject: &str,
        detail: String,
        count: u64,
        now_ms: u64,
    ) -> Option<u64> {
        let key = key(kind, subject);
        if !self.0.contains_key(&key) {
            self.make_room(now_ms);
        }
        let fault = self.0.entry(key).or_insert_with(|| Fault {
            kind,
            subject: subject.to_owned(),
            detail: String::new(),
            since_ms: now_ms,
            last_ms: now_ms,
            count: 0,
            logged_ms: 0,
            suppressed: 0,
            is_resolved: false,
        });
        if !fault.is_present(now_ms) {
            (fault.since_ms, fault.count, fault.is_resolved) = (now_ms, 0, false);
        }
        fault.detail = detail;
        fault.last_ms = now_ms;
        fault.count = fault.count.saturating_add(count);
        if fault.logged_ms != 0 && now_ms < fault.logged_ms.saturating_add(LOG_EVERY_MS) {
            fault.suppressed = fault.suppressed.saturating_add(count);
            return None;
        }
        fault.logged_ms = now_ms;
        let unlogged = fault.suppressed.saturating_add(count.saturating_sub(1));
        fault.suppressed = 0;
        Some(unlogged)
    }

    /// Resolves a fault. Returns `true` if it was present.
    pub fn resolve(&mut self, kind: FaultKind, subject: &str, now_ms: u64) -> bool {
        match self.0.get_mut(&key(kind, subject)) {
            Some(fault) if fault.is_present(now_ms) => {
                fault.is_resolved = true;
                true
            }
            _ => false,
        }
    }

    /// Returns the faults that are present, sorted by kind.
    pub fn present(&self, now_ms: u64) -> Vec<Fault> {
        let present = |fault: &&Fault| fault.is_present(now_ms);
        let mut faults: Vec<Fault> = self.0.values().filter(present).cloned().collect();
        faults.sort_by(|a, b| (a.kind, &a.subject).cmp(&(b.kind, &b.subject)));
        faults
    }

    /// Evicts faults that are over, and the one that was seen longest ago if the table is still
    /// full.
    fn make_room(&mut self, now_ms: u64) {
        self.0.retain(|_, fault| !fault.is_over(now_ms));
        if self.0.len() >= MAX_FAULTS {
            let oldest = self.0.iter().min_by_key(|(_, fault)| fault.last_ms);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                self.0.remove(&key);
            }
        }
    }
}

/// Returns the key of a fault in the table.
pub fn key(kind: FaultKind, subject: &str) -> String {
    format!("{}/{subject}", kind.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_700_000_000_000;

    fn fail(faults: &mut Faults, subject: &str, count: u64, now_ms: u64) -> Option<u64> {
        let detail = "503 overloaded".to_owned();
        faults.report(FaultKind::ProviderFailed, subject, detail, count, now_ms)
    }

    #[test]
    fn a_fault_is_logged_once_in_ten_seconds_with_the_count_of_the_others() {
        let mut faults = Faults::default();
        assert_eq!(fail(&mut faults, "openai", 1, START), Some(0));
        assert_eq!(fail(&mut faults, "openai", 7, START + 9_999), None);
        assert_eq!(fail(&mut faults, "second", 1, START + 9_999), Some(0));
        assert_eq!(fail(&mut faults, "openai", 2, START + 10_000), Some(8));
        assert_eq!(faults.present(START + 10_000)[0].count, 10);
    }

    #[test]
    fn one_that_comes_and_goes_is_not_logged_more_often() {
        let mut faults = Faults::default();
        fail(&mut faults, "openai", 1, START);
        assert!(faults.resolve(FaultKind::ProviderFailed, "openai", START + 1));
        assert!(!faults.resolve(FaultKind::ProviderFailed, "openai", START + 2));
        assert!(faults.present(START + 2).is_empty());
        assert_eq!(fail(&mut faults, "openai", 1, START + 3), None);
        assert_eq!(faults.present(START + 3)[0].since_ms, START + 3);
    }

    #[test]
    fn what_is_not_seen_any_more_is_not_shown_any_more() {
        let mut faults = Faults::default();
        fail(&mut faults, "openai", 1, START);
        faults.report(
            FaultKind::ConfigurationRejected,
            "",
            String::new(),
            1,
            START,
        );
        let codes = |faults: &Faults, now_ms| -> Vec<_> {
            let present = faults.present(now_ms).into_iter();
            present.filter_map(|fault| fault.kind.code()).collect()
        };
        assert_eq!(codes(&faults, START + 29_999).len(), 2);
        assert_eq!(codes(&faults, START + 30_000), ["configuration_rejected"]);
    }

    #[test]
    fn the_number_of_faults_is_bounded_and_the_latest_are_kept() {
        let mut faults = Faults::default();
        for number in 0..3 * MAX_FAULTS as u64 {
            fail(&mut faults, &number.to_string(), 1, START + number);
        }
        assert_eq!(faults.0.len(), MAX_FAULTS);
        let last = (3 * MAX_FAULTS - 1).to_string();
        assert!(
            faults
                .0
                .contains_key(&key(FaultKind::ProviderFailed, &last))
        );
    }

    #[test]
    fn names_of_kinds_are_the_ones_on_the_wire() {
        for kind in [
            FaultKind::ProviderFailed,
            FaultKind::ProviderKeyRefused,
            FaultKind::CircuitOpened,
            FaultKind::CircuitClosed,
            FaultKind::ConfigurationRejected,
            FaultKind::ControlPlaneUnreachable,
            FaultKind::TraceDropped,
        ] {
            let written = serde_json::to_value(kind).unwrap();
            assert_eq!(written, kind.as_str());
        }
    }
}
