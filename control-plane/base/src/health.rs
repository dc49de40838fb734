//! Current faults of the control plane, for `/health`, `/statsz` and `/metrics`.
//!
//! A component that finds a fault calls [`HealthRegistry::report`], and [`HealthRegistry::resolve`]
//! when the fault is gone. A fault is a [`HealthCode`] and a subject, such as a provider's name, or
//! `""` if the code has only one.
//!
//! ```
//! use opentracy_base::health::{HealthCode, HealthRegistry};
//!
//! let health = HealthRegistry::default();
//! assert!(health.report(HealthCode::StoreWrite, "", "disk I/O error"));
//! assert_eq!(health.reasons()[0].code, "store_write_failing");
//! health.resolve(HealthCode::StoreWrite, "");
//! assert!(!health.is_degraded());
//! ```

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock;
use opentracy_trace::Micros;

/// Maximum number of reasons. Subjects come from the configuration, so there are always far fewer.
const MAX_REASONS: usize = 500;

/// The kinds of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HealthCode {
    /// The journal accepts no records: its disk is full or fails.
    JournalWrite,
    /// The journal has reached its maximum size, because the store does not keep up.
    JournalFull,
    /// A segment of the journal can't be read; it is kept and retried.
    JournalRead,
    /// The journal's checkpoint, up to which the store has its records, can't be written.
    JournalBookmark,
    /// Parts of the journal were damaged and could not be recovered.
    JournalDamage,
    /// The last configuration, or a file beside it, was rejected: the one before stays active.
    ConfigurationRejected,
    /// Calls without a key are refused, and no key can be used.
    NoUsableKey,
    /// The store accepts no records; they wait in the journal.
    StoreWrite,
    /// Searches and aggregations fail.
    StoreRead,
    /// Traces older than the retention can't be removed.
    StoreExpire,
    /// Records that the store rejects were set aside.
    StoreDeadLetters,
    /// Tokens are configured, but an Envoy does not verify them: it refuses every caller that has
    /// one.
    TokensUnverified,
    /// Credentials of a cloud provider can't be fetched or renewed.
    CredentialRenewal,
    /// The embedding model or endpoint fails, so that the router can't decide.
    Embedder,
}

impl HealthCode {
    pub const ALL: [Self; 14] = [
        Self::ConfigurationRejected,
        Self::NoUsableKey,
        Self::JournalWrite,
        Self::JournalFull,
        Self::JournalRead,
        Self::JournalBookmark,
        Self::JournalDamage,
        Self::StoreWrite,
        Self::StoreRead,
        Self::StoreExpire,
        Self::StoreDeadLetters,
        Self::TokensUnverified,
        Self::CredentialRenewal,
        Self::Embedder,
    ];

    /// Returns the code in `/health`, which is also the label `code` in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JournalWrite => "journal_write_failing",
            Self::JournalFull => "journal_full",
            Self::JournalRead => "journal_read_failing",
            Self::JournalBookmark => "journal_bookmark_failing",
            Self::JournalDamage => "journal_damaged",
            Self::ConfigurationRejected => "configuration_rejected",
            Self::NoUsableKey => "no_usable_key",
            Self::StoreWrite => "store_write_failing",
            Self::StoreRead => "store_read_failing",
            Self::StoreExpire => "store_expire_failing",
            Self::StoreDeadLetters => "store_dead_letters",
            Self::TokensUnverified => "tokens_unverified",
            Self::CredentialRenewal => "credential_renewal_failing",
            Self::Embedder => "embedder_failing",
        }
    }

    /// Returns the component that has the fault.
    pub const fn component(self) -> &'static str {
        match self {
            Self::JournalWrite
            | Self::JournalFull
            | Self::JournalRead
            | Self::JournalBookmark
            | Self::JournalDamage => "journal",
            Self::StoreWrite | Self::StoreRead | Self::StoreExpire | Self::StoreDeadLetters => {
                "store"
            }
            Self::ConfigurationRejected => "configuration",
            Self::NoUsableKey | Self::TokensUnverified => "access",
            Self::CredentialRenewal => "credentials",
            Self::Embedder => "router",
        }
    }
}

/// An active fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct HealthReason {
    /// The component that has the fault, such as `journal`.
    pub component: &'static str,
    /// A stable name to alert on.
    pub code: &'static str,
    /// A text for people: the last error and the fix.
    pub message: String,
    /// Time of its first occurrence, RFC 3339.
    pub since: String,
}

/// The active faults. Clones share one list.
#[derive(Debug, Clone, Default)]
pub struct HealthRegistry {
    faults: Arc<Mutex<Faults>>,
}

type Faults = BTreeMap<(HealthCode, String), Fault>;

#[derive(Debug)]
struct Fault {
    message: String,
    since: Micros,
}

impl HealthRegistry {
    /// Adds a fault, or updates the message of an active one. Returns `true` if it was not active
    /// before, which is when to log it.
    pub fn report(&self, code: HealthCode, subject: &str, message: impl Into<String>) -> bool {
        let mut faults = self.faults();
        let is_full = faults.len() >= MAX_REASONS;
        match faults.entry((code, subject.to_owned())) {
            Entry::Occupied(mut present) => {
                present.get_mut().message = message.into();
                false
            }
            Entry::Vacant(_) if is_full => false,
            Entry::Vacant(vacant) => {
                vacant.insert(Fault {
                    message: message.into(),
                    since: clock::now(),
                });
                true
            }
        }
    }

    /// Removes a fault. Returns `true` if it was active.
    pub fn resolve(&self, code: HealthCode, subject: &str) -> bool {
        self.faults().remove(&(code, subject.to_owned())).is_some()
    }

    /// Returns `true` if any fault is active.
    pub fn is_degraded(&self) -> bool {
        !self.faults().is_empty()
    }

    /// Returns the active faults, ordered by code.
    pub fn reasons(&self) -> Vec<HealthReason> {
        let reason = |(&(code, _), fault): (&(HealthCode, String), &Fault)| HealthReason {
            component: code.component(),
            code: code.as_str(),
            message: fault.message.clone(),
            since: fault.since.timestamp(),
        };
        self.faults().iter().map(reason).collect()
    }

    /// Returns the number of active faults of a kind.
    pub fn count(&self, code: HealthCode) -> usize {
        let faults = self.faults();
        faults.keys().filter(|(kind, _)| *kind == code).count()
    }

    fn faults(&self) -> std::sync::MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_new_once_and_keeps_its_first_time() {
        let health = HealthRegistry::default();
        assert!(!health.is_degraded());
        assert!(health.report(HealthCode::JournalRead, "7", "EIO"));
        let first = health.reasons();
        assert!(!health.report(HealthCode::JournalRead, "7", "EACCES"));
        assert!(health.report(HealthCode::JournalRead, "8", "EIO"));
        let reasons = health.reasons();
        assert_eq!(health.count(HealthCode::JournalRead), 2);
        assert_eq!(
            (reasons[0].message.as_str(), reasons[0].component),
            ("EACCES", "journal")
        );
        assert_eq!(reasons[0].since, first[0].since);
    }

    #[test]
    fn resolving_the_last_fault_makes_it_healthy() {
        let health = HealthRegistry::default();
        let clone = health.clone();
        clone.report(HealthCode::StoreWrite, "", "disk I/O error");
        assert!(!health.resolve(HealthCode::JournalWrite, ""));
        assert!(health.is_degraded());
        assert!(health.resolve(HealthCode::StoreWrite, ""));
        assert!(!clone.is_degraded());
    }

    #[test]
    fn the_number_of_faults_is_bounded() {
        let health = HealthRegistry::default();
        for subject in 0..2 * MAX_REASONS {
            health.report(HealthCode::JournalRead, &subject.to_string(), "EIO");
        }
        assert_eq!(health.reasons().len(), MAX_REASONS);
    }
}
