//! Builds the filter, in one of its forms.

use std::path::PathBuf;

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
    let mut folder = workspace.target.join("filter-native");
    for feature in features {
        // Each variant has a separate folder, so that none is mistaken for another.
        folder = folder.join(feature);
    }
    let mut build = workspace.cargo();
    build.args([
        "build",
        "--package",
        "opentracy-filter-native",
        "--profile",
        "native",
    ]);
    build.args(features.iter().flat_map(|feature| ["--features", feature]));
    process::run(build.arg("--target-dir").arg(&folder))?;
    Ok(folder.join("native/libopentracy_filter_native.so"))
}
