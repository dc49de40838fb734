//! A new configuration without a restart: on SIGHUP, when a file has changed, when credentials were renewed, and when a budget is
//! spent.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::budget::Standing;
use crate::client_keys;
use crate::config::{self, Keys};
use crate::credentials::Credentials;
use crate::secrets;
use crate::snapshot::Snapshot;

/// How soon a changed file is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What a snapshot is made of besides the configuration.
pub struct Inputs {
    pub keys: Keys,
    pub credentials: watch::Receiver<Credentials>,
    pub standing: watch::Receiver<Standing>,
}

impl Inputs {
    pub fn snapshot(&self, config: config::Config) -> Arc<Snapshot> {
        let credentials = self.credentials.borrow();
        Snapshot::new(config, &self.keys, &credentials, &self.standing.borrow())
    }
}

/// Puts every new configuration that holds together in force, and what else has changed with the one that is. A configuration that
/// does not hold together is reported, and the old one stays.
pub async fn watch_files(
    path: Option<PathBuf>,
    mut inputs: Inputs,
    current: watch::Sender<Arc<Snapshot>>,
) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let state = config::state_dir();
    let of_state = [
        state.join("secrets.json"),
        secrets::path(&state),
        client_keys::path(&state),
    ];
    let look = || {
        let files = path.iter().chain(&of_state);
        files.map(|path| stamp(path)).collect::<Vec<_>>()
    };
    let mut seen = look();
    loop {
        tokio::select! {
            _ = hangup.recv() => {}
            // An error means that the sender is gone, and with it everything.
            Ok(()) = inputs.credentials.changed() => {
                renew(&inputs, &current);
                continue;
            }
            Ok(()) = inputs.standing.changed() => {
                renew(&inputs, &current);
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
            Ok((config, keys)) => {
                inputs.keys = keys;
                let snapshot = inputs.snapshot(config);
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

/// The configuration in force, with what has changed around it.
fn renew(inputs: &Inputs, current: &watch::Sender<Arc<Snapshot>>) {
    let config = current.borrow().config.clone();
    current.send_replace(inputs.snapshot(config));
}

/// What tells a file from its later self.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
