//! Locations of the source, build output and downloads.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;

pub struct Workspace {
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
    /// Downloads shared by all checkouts: Envoy, the tests' Python packages.
    cache: PathBuf,
}

impl Workspace {
    pub fn find() -> Result<Self> {
        // Cargo's value, not the one of the compilation: checkouts may share a target folder.
        let package = env::var_os("CARGO_MANIFEST_DIR").context("run this by `cargo xtask`")?;
        let root = Path::new(&package)
            .parent()
            .context("the workspace has no folder")?
            .to_path_buf();
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let cache = match (env::var_os("XDG_CACHE_HOME"), env::var_os("HOME")) {
            (Some(cache), _) => PathBuf::from(cache),
            (None, Some(home)) => Path::new(&home).join(".cache"),
            (None, None) => target.clone(),
        };
        Ok(Self {
            target: std::path::absolute(target)?,
            cache: std::path::absolute(cache.join("opentracy"))?,
            root,
        })
    }

    pub fn cargo(&self) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root);
        command
    }

    /// Builds the control plane and returns its path.
    pub fn build_control_plane(&self, profile: BuildProfile) -> Result<PathBuf> {
        let mut build = self.cargo();
        build.args([
            "build",
            "--package",
            "opentracy",
            "--profile",
            profile.name(),
        ]);
        process::run(build.arg("--target-dir").arg(&self.target))?;
        Ok(self.target.join(profile.folder()).join("opentracy"))
    }

    /// Returns a folder in the cache that `make` fills once: a failed or interrupted run counts as
    /// missing.
    pub fn cached(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let folder = self.cache.join(name);
        // Written last. A virtual environment can't be moved, so the folder has its final name from
        // the start.
        let done = folder.join(".complete");
        if done.exists() {
            return Ok(folder);
        }
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("the cache folder {} can't be created", folder.display()))?;
        make(&folder)?;
        std::fs::write(done, "")?;
        Ok(folder)
    }
}

#[derive(Debug, Clone, Copy)]
pub enum BuildProfile {
    /// The quickest to build.
    Dev,
    Release,
}

impl BuildProfile {
    fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Release => "release",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}
