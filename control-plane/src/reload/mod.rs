//! A new configuration without a restart: on SIGHUP, when a file has changed, when credentials were renewed, and when a budget is
//! spent.
//!
//! A file is read when it has settled (`settle`), and what is left of one is not taken (`guard`): the last good one stays, the log says
//! so once, and `/health` until it is mended.

pub mod access_latch;
mod guard;
mod settle;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::client_keys;
use crate::config::{self, Keys, LoadError};
use crate::credentials::source::Credentials;
use crate::health::{HealthCode, HealthRegistry};
use crate::reload::access_latch::AccessLatch;
use crate::secrets;
use crate::snapshot::{AccessState, Snapshot};
use crate::spend::owner::Standing;
use guard::TextVerdict;
use settle::{Look, WatchedFiles};

/// The interval between checks for changed files.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The inputs of a snapshot other than the configuration.
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

/// The configuration file and what was last taken from it.
pub struct ConfigFile {
    pub path: Option<PathBuf>,
    /// Empty where there is no file.
    pub text: String,
    files: WatchedFiles,
}

impl ConfigFile {
    /// Reads the file. It is watched from before that, and with it what the state folder has, so that no change is missed.
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

/// Puts every new configuration that holds together in force, and what else has changed with the current one. One that does not
/// hold together, or is what is left of a file, is reported, and the old one stays.
pub async fn watch_files(
    file: ConfigFile,
    inputs: Inputs,
    current: watch::Sender<Arc<Snapshot>>,
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
    // An operator who asks has the file read as it is once it has settled.
    let mut is_asked = false;
    loop {
        reloader.report_access();
        tokio::select! {
            _ = hangup.recv() => is_asked = true,
            // An error means that the sender is gone, and with it everything.
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
    current: watch::Sender<Arc<Snapshot>>,
    health: HealthRegistry,
    access: Option<AccessState>,
}

impl Reloader {
    /// Reads the files. Returns `false` if they are to be looked at again.
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
        // It holds for this process even where its file was deleted.
        config.access.is_latched |= before.config.access.is_latched;
        latch(&mut config);
        self.file.text = text;
        self.inputs.keys = keys;
        let snapshot = self.inputs.snapshot(config);
        tracing::info!(
            version = snapshot.version,
            "a new configuration is in force"
        );
        self.health.resolve(HealthCode::ConfigurationRejected, "");
        self.current.send_replace(snapshot);
        true
    }

    fn reject(&self, why: &str) {
        tracing::error!("the new configuration can't be used, the old one stays in force: {why}");
        let message = format!("the last configuration was not taken: {why}");
        self.health
            .report(HealthCode::ConfigurationRejected, "", message);
    }

    /// Puts the current configuration in force again, with what has changed around it.
    fn renew(&self) {
        let config = self.current.borrow().config.clone();
        self.current.send_replace(self.inputs.snapshot(config));
    }

    /// Logs who gets in, whenever that has changed, and keeps `/health` up to date.
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

/// Remembers that there is a key or a token.
pub fn latch(config: &mut config::Config) {
    if config.keys.is_empty() && config.access.jwt.is_none() {
        return;
    }
    config.access.is_latched = true;
    let latch = AccessLatch::of(&config::state_dir(), &config.store);
    if let Err(error) = latch.set() {
        tracing::warn!(
            "it can't be kept that there was a key, so a restart without one would let everybody in: {error:#}"
        );
    }
}
