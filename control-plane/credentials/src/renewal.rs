//! Renewal of the credentials that the active configuration needs.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::resolved::Resolved;
use crate::{aws, google};
use opentracy_base::health::{HealthCode, HealthRegistry};
use opentracy_config::ResolvedProvider;
use opentracy_config::credential::{Credentials, Source};
use opentracy_config::snapshot::ActiveConfig;

/// Time before their expiry at which credentials are renewed.
const EARLY: Duration = Duration::from_secs(300);
/// Delay before the next attempt after a failure.
const RETRY: Duration = Duration::from_secs(30);
/// Minimum delay, in case a source returns credentials that are about to expire.
const SOONEST: Duration = Duration::from_secs(1);
/// Interval at which credentials that never expire are read again: a file may have changed.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// Starts the task that keeps the credentials that the active configuration needs up to date, until
/// all receivers are gone.
pub fn start(
    snapshot: watch::Receiver<Arc<ActiveConfig>>,
    credentials: watch::Sender<Credentials>,
    health: HealthRegistry,
) {
    tokio::spawn(keep(snapshot, credentials, health));
}

async fn keep(
    mut snapshot: watch::Receiver<Arc<ActiveConfig>>,
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

/// Fetches from the sources and returns the time of the next renewal. On failure the current
/// credentials stay, because they may still be valid.
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

fn needed(snapshot: &ActiveConfig) -> Vec<Source> {
    let mut sources: Vec<Source> = snapshot
        .providers
        .values()
        .filter_map(ResolvedProvider::credential_source)
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

#[cfg(test)]
mod tests {
    use super::*;
    use opentracy_config::credential::Credential;

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
