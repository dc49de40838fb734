//! Applies a new configuration without a restart: on SIGHUP, when a file has changed, when
//! credentials were renewed, and when a budget is spent.
//!
//! A file is read once it has stopped changing (`settle`), and rejected if it looks damaged
//! (`guard`): the last good one stays active. The log reports that once, `/health` until it is
//! fixed.

mod guard;
mod settle;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use guard::TextVerdict;
use opentracy_base::health::{HealthCode, HealthRegistry};
use opentracy_config::access_latch::AccessLatch;
use opentracy_config::client_keys;
use opentracy_config::credential::Credentials;
use opentracy_config::owner::BudgetStatus;
use opentracy_config::secrets;
use opentracy_config::snapshot::{AccessState, ActiveConfig};
use opentracy_config::{self as config, Keys, LoadError};
use settle::{Look, WatchedFiles};

/// The interval between checks for changed files.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The inputs of a snapshot other than the configuration.
pub struct Inputs {
    pub keys: Keys,
    pub credentials: watch::Receiver<Credentials>,
    pub standing: watch::Receiver<BudgetStatus>,
}

impl Inputs {
    pub fn snapshot(&self, config: config::Config) -> Arc<ActiveConfig> {
        let credentials = self.credentials.borrow();
        ActiveConfig::new(config, &self.keys, &credentials, &self.standing.borrow())
    }
}

/// The configuration file and its last accepted content.
pub struct ConfigFile {
    pub path: Option<PathBuf>,
    /// Empty without a file.
    pub text: String,
    files: WatchedFiles,
}

impl ConfigFile {
    /// Reads the file. Watching it and the state folder starts before the read, so that no change
    /// is missed.
    pub fn read(path: Option<&Path>) -> Result<Self, LoadError> {
        let state = config::state_dir();
        let of_state = [
            state.join("secrets.json"),
            secrets::path(&state),
            client_keys::path(&state),
        ];
        let paths = path.map(Path::to_path_buf).into_iter().chain(of_state);
        let files = WatchedFiles::new(paths.collect());
        Ok(Self {
            text: path.map(config::read_text).transpose()?.unwrap_or_default(),
            path: path.map(Path::to_path_buf),
            files,
        })
    }
}

/// Applies every valid new configuration, and other changes with the current one. One that is
/// invalid or looks damaged is reported, and the old one stays active.
pub async fn watch_files(
    file: ConfigFile,
    inputs: Inputs,
    current: watch::Sender<Arc<ActiveConfig>>,
    health: HealthRegistry,
) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut reloader = Reloader {
        file,
        inputs,
        current,
        health,
        access: None,
    };
    // A reload that the operator requests reads the file as it is, once it has settled.
    let mut is_asked = false;
    loop {
        reloader.report_access();
        tokio::select! {
            _ = hangup.recv() => is_asked = true,
            // An error means that the sender is gone because the process is ending.
            Ok(()) = reloader.inputs.credentials.changed() => {
                reloader.renew();
                continue;
            }
            Ok(()) = reloader.inputs.standing.changed() => {
                reloader.renew();
                continue;
            }
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let quiet = match reloader.file.files.look(Instant::now()) {
            Look::Changing => continue,
            Look::Unchanged if !is_asked => continue,
            Look::Unchanged => None,
            Look::Settled(quiet) => (!is_asked).then_some(quiet),
        };
        if reloader.reload(quiet) {
            is_asked = false;
            reloader.file.files.accept();
        }
    }
}

struct Reloader {
    file: ConfigFile,
    inputs: Inputs,
    current: watch::Sender<Arc<ActiveConfig>>,
    health: HealthRegistry,
    access: Option<AccessState>,
}

impl Reloader {
    /// Reads the files. Returns `false` if they have to be checked again.
    fn reload(&mut self, quiet: Option<Duration>) -> bool {
        let text = match self.file.path.as_deref().map(config::read_text).transpose() {
            Ok(text) => text.unwrap_or_default(),
            Err(error) => {
                self.reject(&error.to_string());
                return true;
            }
        };
        let name = self.file.path.as_ref();
        let name = name.map_or_else(String::new, |path| path.display().to_string());
        match guard::check_text(&self.file.text, &text, quiet) {
            TextVerdict::Wait => return false,
            TextVerdict::Refused(why) => {
                self.reject(&format!("{name}: {why}"));
                return true;
            }
            TextVerdict::Whole => {}
        }
        let loaded = config::load_text(self.file.path.as_deref(), &text);
        let (mut config, keys) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                self.reject(&error.to_string());
                return true;
            }
        };
        let before = Arc::clone(&self.current.borrow());
        if let Err(why) = guard::check_access(&before.config, &config) {
            self.reject(&format!("{name}: {why}"));
            return true;
        }
        // The latch holds for this process even if its file was deleted.
        config.access.is_latched |= before.config.access.is_latched;
        latch(&mut config);
        self.file.text = text;
        self.inputs.keys = keys;
        let snapshot = self.inputs.snapshot(config);
        tracing::info!(version = snapshot.version, "a new configuration is active");
        self.health.resolve(HealthCode::ConfigurationRejected, "");
        self.current.send_replace(snapshot);
        true
    }

    fn reject(&self, why: &str) {
        tracing::error!("the new configuration can't be used, the old one stays active: {why}");
        let message = format!("the last configuration was rejected: {why}");
        self.health
            .report(HealthCode::ConfigurationRejected, "", message);
    }

    /// Applies the current configuration again with the new credentials and budgets.
    fn renew(&self) {
        let config = self.current.borrow().config.clone();
        self.current.send_replace(self.inputs.snapshot(config));
    }

    /// Logs the state of access whenever it has changed, and keeps `/health` up to date.
    fn report_access(&mut self) {
        let access = self.current.borrow().access();
        if self.access.replace(access) == Some(access) {
            return;
        }
        let message = access.message();
        match access {
            AccessState::Keys => tracing::info!("access: {message}"),
            AccessState::Open | AccessState::Closed => tracing::warn!("access: {message}"),
        }
        if access == AccessState::Closed {
            self.health.report(HealthCode::NoUsableKey, "", message);
        } else {
            self.health.resolve(HealthCode::NoUsableKey, "");
        }
    }
}

/// Records that a key or a token exists.
pub fn latch(config: &mut config::Config) {
    if config.keys.is_empty() && config.access.jwt.is_none() {
        return;
    }
    config.access.is_latched = true;
    let latch = AccessLatch::of(&config::state_dir(), &config.store);
    if let Err(error) = latch.set() {
        tracing::warn!(
            "the access latch can't be written, so a restart without a key would let everybody in: {error:#}"
        );
    }
}
