//! Builds the filter, in one of its forms.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;

use crate::workspace::Workspace;
use crate::{process, wasm};

/// The form of the filter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum FilterBuild {
    /// A wasm file, which runs in VMs.
    #[default]
    Wasm,
    /// A shared library, which runs in Envoy's own process.
    Native,
}

impl FilterBuild {
    /// Returns the value of `opentracy envoy-config --filter-kind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::Native => "native",
        }
    }
}

/// Builds the filter with these features and returns its path.
pub fn build(workspace: &Workspace, kind: FilterBuild, features: &[&str]) -> Result<PathBuf> {
    match kind {
        FilterBuild::Wasm => wasm::build(workspace, features),
        FilterBuild::Native => build_native(workspace, features),
    }
}

fn build_native(workspace: &Workspace, features: &[&str]) -> Result<PathBuf> {
    const FILE: &str = "libopentracy_filter_native.so";
    let folder = workspace.target.join("filter-native");
    let build = |profile: &str, target: &Path| {
        let mut build = workspace.cargo();
        build.args(["build", "--package", "opentracy-filter-native"]);
        build.args(features.iter().flat_map(|feature| ["--features", feature]));
        build.args(["--profile", profile, "--target-dir"]);
        process::run(build.arg(target))
    };
    if features.is_empty() {
        build("native", &folder)?;
        return Ok(folder.join("native").join(FILE));
    }
    // A variant for tests: what the optimized build would take longer for doesn't matter. Each
    // variant has a separate folder, so that none is mistaken for another.
    build("dev", &workspace.target)?;
    let variant = folder.join(features.join("-"));
    std::fs::create_dir_all(&variant)?;
    let copy = variant.join(FILE);
    // A process may still use the last one.
    let _ = std::fs::remove_file(&copy);
    std::fs::copy(workspace.target.join("debug").join(FILE), &copy)?;
    Ok(copy)
}
