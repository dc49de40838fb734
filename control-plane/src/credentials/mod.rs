//! Credentials that are no key in a file: they are had from somebody, and run out.
//!
//! A task of its own resolves them for every provider that wants some, and again before they expire. The filter gets them with the
//! configuration.

mod aws;
mod google;
pub mod source;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::config::{Need, Provider};
use crate::credentials::source::{Credential, Credentials, Source};
use crate::health::{HealthCode, HealthRegistry};
use crate::snapshot::Snapshot;

/// This much before they expire, credentials are had anew.
const EARLY: Duration = Duration::from_secs(300);
/// How soon it is tried again after a failure.
const RETRY: Duration = Duration::from_secs(30);
/// How soon the earliest, where credentials are handed out that are about to expire.
const SOONEST: Duration = Duration::from_secs(1);
/// Credentials that never expire are looked at again after this long: a file may have changed.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

struct Resolved {
    credential: Credential,
    expires: Option<SystemTime>,
}

/// Keeps the credentials that the configuration in force needs, as long as anybody wants them.
pub async fn keep(
    mut snapshot: watch::Receiver<Arc<Snapshot>>,
    credentials: watch::Sender<Credentials>,
    health: HealthRegistry,
) {
    let mut earlier = Vec::new();
    loop {
        let sources = needed(&snapshot.borrow_and_update());
        for gone in earlier.iter().filter(|source| !sources.contains(source)) {
            health.resolve(HealthCode::CredentialRenewal, &gone.to_string());
        }
        earlier.clone_from(&sources);
        let current = credentials.borrow().clone();
        let (held, wait) = renew(&sources, &current, &health).await;
        credentials.send_if_modified(|current| {
            let has_changed = *current != held;
            *current = held;
            has_changed
        });
        let renewal = tokio::time::sleep(wait);
        tokio::pin!(renewal);
        loop {
            tokio::select! {
                () = &mut renewal => break,
                changed = snapshot.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if needed(&snapshot.borrow_and_update()) != sources {
                        break;
                    }
                }
            }
        }
    }
}

/// Resolves the sources, and says when to do so again. Where that fails, the current credentials stay: they may still be good.
async fn renew(
    sources: &[Source],
    current: &Credentials,
    health: &HealthRegistry,
) -> (Credentials, Duration) {
    let mut wait = LOOK_AGAIN;
    let mut held = Credentials::new();
    for source in sources {
        let subject = source.to_string();
        match resolve(source).await {
            Ok(resolved) => {
                wait = wait.min(until_renewal(resolved.expires));
                held.insert(source.clone(), resolved.credential);
                if health.resolve(HealthCode::CredentialRenewal, &subject) {
                    tracing::info!(event = "credential_renewal_recovered", "{source}");
                }
            }
            Err(error) => {
                let message = format!("no credentials for {source}: {error:#}");
                if health.report(HealthCode::CredentialRenewal, &subject, message.as_str()) {
                    tracing::warn!(event = "credential_renewal_failed", "{message}");
                }
                wait = wait.min(RETRY);
                if let Some(old) = current.get(source) {
                    held.insert(source.clone(), old.clone());
                }
            }
        }
    }
    (held, wait)
}

fn needed(snapshot: &Snapshot) -> Vec<Source> {
    let mut sources: Vec<Source> = snapshot
        .providers
        .values()
        .filter_map(Provider::credential_source)
        .collect();
    sources.sort();
    sources.dedup();
    sources
}

async fn resolve(source: &Source) -> anyhow::Result<Resolved> {
    match source {
        Source::Aws { profile } => aws::resolve(profile.as_deref()).await,
        Source::Google { file } => google::resolve(file.as_deref()).await,
    }
}

fn until_renewal(expires: Option<SystemTime>) -> Duration {
    match expires {
        None => LOOK_AGAIN,
        Some(at) => at
            .duration_since(SystemTime::now())
            .unwrap_or_default()
            .saturating_sub(EARLY)
            .max(SOONEST),
    }
}

impl Need {
    /// Where to look.
    pub fn source(&self) -> Source {
        match self {
            Self::Aws { profile, .. } => Source::Aws {
                profile: profile.clone(),
            },
            Self::Google { file } => Source::Google { file: file.clone() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_renewal_is_a_fault_and_keeps_what_was_had() {
        let source = Source::Google {
            file: Some(std::path::PathBuf::from("/nowhere/service-account.json")),
        };
        let token = Credential::Token("old".to_owned());
        let current = Credentials::from([(source.clone(), token)]);
        let health = HealthRegistry::default();
        let (held, wait) = renew(std::slice::from_ref(&source), &current, &health).await;
        assert!(held == current && wait == RETRY);
        let reasons = health.reasons();
        assert_eq!(reasons[0].code, "credential_renewal_failing");
        assert!(
            reasons[0].message.contains("/nowhere/"),
            "{}",
            reasons[0].message
        );
        assert!(!reasons[0].message.contains("old"));
    }

    #[test]
    fn credentials_are_had_anew_before_they_expire() {
        let in_an_hour = SystemTime::now() + Duration::from_secs(3600);
        let wait = until_renewal(Some(in_an_hour));
        assert!(wait > Duration::from_secs(3200) && wait <= Duration::from_secs(3300));
        assert_eq!(until_renewal(Some(SystemTime::now())), SOONEST);
        assert_eq!(until_renewal(None), LOOK_AGAIN);
    }
}
