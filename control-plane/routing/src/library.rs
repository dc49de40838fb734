//! Packs on disk: stores all versions, and which one is active.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use opentracy_router::pack::{self, Pack, PackError};
use serde::{Deserialize, Serialize};

/// Maximum number of previous versions that are kept for rollbacks.
const MAX_PREVIOUS: usize = 20;

pub struct Library {
    folder: PathBuf,
    state: Mutex<State>,
}

/// The contents of `state.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    active: Option<String>,
    /// Versions that were active before, the most recent last.
    previous: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error("unknown pack \"{0}\"; `GET /v1/router/packs` lists all packs")]
    Unknown(String),
    #[error("no pack was active before")]
    NoPrevious,
    #[error(
        "the pack was made with the embedder {pack}, but {ours} is in use: fit a pack with it, or use the pack's embedder"
    )]
    OtherEmbedder { pack: String, ours: String },
    #[error("the router's folder {} can't be used: {error}", folder.display())]
    Folder {
        folder: PathBuf,
        error: std::io::Error,
    },
}

impl Library {
    pub fn open(folder: PathBuf) -> Result<Self, LibraryError> {
        let failed = |error| LibraryError::Folder {
            folder: folder.clone(),
            error,
        };
        std::fs::create_dir_all(folder.join("packs")).map_err(failed)?;
        let state = match std::fs::read(folder.join("state.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(failed(error)),
        };
        Ok(Self {
            state: Mutex::new(state),
            folder,
        })
    }

    /// Returns the versions in order of creation.
    pub fn versions(&self) -> Result<Vec<String>, LibraryError> {
        let failed = |error| self.failed(error);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.folder.join("packs")).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_version(&name) {
                let modified = entry.metadata().and_then(|metadata| metadata.modified());
                found.push((modified.map_err(failed)?, name));
            }
        }
        found.sort();
        Ok(found.into_iter().map(|(_, name)| name).collect())
    }

    pub fn load(&self, version: &str) -> Result<Pack, LibraryError> {
        let path = self.path(version);
        match path.filter(|path| path.exists()) {
            Some(path) => Ok(pack::load(&path)?),
            None => Err(LibraryError::Unknown(version.to_owned())),
        }
    }

    /// Stores a pack and returns its version. Does nothing if that version exists.
    pub fn add(&self, pack: &Pack) -> Result<String, LibraryError> {
        let folder = self.folder.join("packs");
        let unnamed = folder.join(format!("new-{}", uuid::Uuid::now_v7().simple()));
        let version = pack::save(pack, &unnamed)?;
        let path = folder.join(&version);
        if path.exists() {
            std::fs::remove_dir_all(&unnamed).map_err(|error| self.failed(error))?;
        } else {
            std::fs::rename(&unnamed, &path).map_err(|error| self.failed(error))?;
        }
        Ok(version)
    }

    /// Loads the active pack.
    pub fn active(&self) -> Result<Option<Pack>, LibraryError> {
        let version = self.state().active;
        version.map(|version| self.load(&version)).transpose()
    }

    pub fn active_version(&self) -> Option<String> {
        self.state().active
    }

    pub fn set_active(&self, version: &str) -> Result<(), LibraryError> {
        self.change(|state| {
            let before = state.active.replace(version.to_owned());
            state
                .previous
                .extend(before.filter(|before| before != version));
            let surplus = state.previous.len().saturating_sub(MAX_PREVIOUS);
            state.previous.drain(..surplus);
        })
    }

    /// Returns the version that was active before the current one.
    pub fn previous(&self) -> Option<String> {
        self.state().previous.last().cloned()
    }

    pub fn step_back(&self) -> Result<(), LibraryError> {
        self.change(|state| {
            if let Some(previous) = state.previous.pop() {
                state.active = Some(previous);
            }
        })
    }

    fn state(&self) -> State {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> Result<(), LibraryError> {
        let mut held = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = held.clone();
        change(&mut state);
        let bytes = serde_json::to_vec_pretty(&state).expect("its keys are strings");
        let unfinished = self.folder.join("state.json.unfinished");
        std::fs::write(&unfinished, bytes)
            .and_then(|()| std::fs::rename(&unfinished, self.folder.join("state.json")))
            .map_err(|error| self.failed(error))?;
        *held = state;
        Ok(())
    }

    /// Returns a pack's path, or `None` if `version` isn't a valid version: it may be a path
    /// outside of the folder.
    fn path(&self, version: &str) -> Option<PathBuf> {
        is_version(version).then(|| self.folder.join("packs").join(version))
    }

    fn failed(&self, error: std::io::Error) -> LibraryError {
        LibraryError::Folder {
            folder: self.folder.clone(),
            error,
        }
    }
}

fn is_version(name: &str) -> bool {
    name.len() == 12 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}
