//! A new configuration without a restart: on SIGHUP, when a file has changed, and when credentials were renewed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::{self, Keys};
use crate::credentials::Credentials;
use crate::snapshot::Snapshot;

/// How soon a changed file is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Puts every new configuration that holds together in force, and new credentials with the one that is. A configuration that does not
/// hold together is reported, and the old one stays.
pub async fn watch_files(
    path: Option<PathBuf>,
    mut keys: Keys,
    mut credentials: watch::Receiver<Credentials>,
    current: watch::Sender<Arc<Snapshot>>,
) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let secrets = config::state_dir().join("secrets.json");
    let look = || [path.as_deref().map(stamp), Some(stamp(&secrets))];
    let mut seen = look();
    loop {
        tokio::select! {
            _ = hangup.recv() => {}
            // An error means that the sender is gone, and with it everything.
            Ok(()) = credentials.changed() => {
                let held = credentials.borrow_and_update();
                let config = current.borrow().config.clone();
                current.send_replace(Snapshot::new(config, &keys, &held));
                continue;
            }
            () = tokio::time::sleep(LOOK_EVERY) => {
                if look() == seen {
                    continue;
                }
            }
        }
        seen = look();
        match config::load(path.as_deref()) {
            Ok((config, new_keys)) => {
                keys = new_keys;
                let snapshot = Snapshot::new(config, &keys, &credentials.borrow());
                tracing::info!(
                    version = snapshot.version,
                    "a new configuration is in force"
                );
                current.send_replace(snapshot);
            }
            Err(error) => {
                tracing::error!(
                    "the new configuration can't be used, the old one stays in force: {error}"
                );
            }
        }
    }
}

/// What tells a file from its later self.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
