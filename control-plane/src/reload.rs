//! A new configuration without a restart: on SIGHUP, and when a file has changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config;
use crate::snapshot::Snapshot;

/// How soon a changed file is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Puts every new configuration that holds together in force. One that does not is reported, and the old one stays.
pub async fn watch_files(
    path: Option<PathBuf>,
    current: watch::Sender<Arc<Snapshot>>,
) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let secrets = config::state_dir().join("secrets.json");
    let look = || [path.as_deref().map(stamp), Some(stamp(&secrets))];
    let mut seen = look();
    loop {
        tokio::select! {
            _ = hangup.recv() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {
                if look() == seen {
                    continue;
                }
            }
        }
        seen = look();
        match config::load(path.as_deref()) {
            Ok((config, keys)) => {
                let snapshot = Snapshot::new(config, &keys);
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
