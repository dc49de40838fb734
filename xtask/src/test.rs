//! `cargo xtask test`: runs the unit tests, then tests the product as its users run it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::filter::FilterBuild;
use crate::workspace::{BuildProfile, Workspace};
use crate::{embedder, envoy, filter, process, python};

/// Runs every test.
pub fn run(workspace: &Workspace, kind: FilterBuild) -> Result<()> {
    let embedder = embedder::find(workspace)?;
    let mut cargo = workspace.cargo();
    cargo.env("OPENTRACY_TEST_EMBEDDER", &embedder);
    process::run(cargo.args(["test", "--workspace"]))?;
    // The test of the first run builds it too. Building it here keeps its first build out of that
    // test's time limit.
    workspace.build_control_plane(BuildProfile::Release)?;
    let mut pytest = pytest(workspace, kind, &side_by_side())?;
    if kind == FilterBuild::Wasm {
        // The core of the tests runs with a native filter too, in the same run.
        let native = |features| filter::build(workspace, FilterBuild::Native, features);
        pytest
            .env(
                "OPENTRACY_ENVOY",
                envoy::find_for(FilterBuild::Native, workspace)?,
            )
            .env("OPENTRACY_NATIVE_FILTER", native(&[])?)
            .env("OPENTRACY_NATIVE_TRAP_FILTER", native(&["trap-for-tests"])?);
    }
    process::run(&mut pytest)
}

/// Runs end-to-end tests with one form of the filter, with these arguments for pytest.
pub fn run_e2e(workspace: &Workspace, kind: FilterBuild, arguments: &[String]) -> Result<()> {
    process::run(&mut pytest(workspace, kind, arguments)?)
}

fn pytest(workspace: &Workspace, kind: FilterBuild, arguments: &[String]) -> Result<Command> {
    let tests = workspace.root.join("tests");
    let node_modules = node_packages(&tests)?;
    let mut pytest = python::command(workspace, "python")?;
    pytest
        .current_dir(&tests)
        .args(["-m", "pytest"])
        .args(arguments)
        .env(
            "OPENTRACY_BIN",
            workspace.build_control_plane(BuildProfile::Dev)?,
        )
        .env("OPENTRACY_FILTER_KIND", kind.as_str())
        .env("OPENTRACY_FILTER", filter::build(workspace, kind, &[])?)
        .env(
            "OPENTRACY_TRAP_FILTER",
            filter::build(workspace, kind, &["trap-for-tests"])?,
        )
        .env("OPENTRACY_ENVOY", envoy::find_for(kind, workspace)?)
        .env("OPENTRACY_TEST_EMBEDDER", embedder::find(workspace)?)
        .env("OPENTRACY_NODE_PROGRAMS", node_modules.join(".bin"));
    Ok(pytest)
}

/// Returns the arguments that run the whole suite in several processes: one more than there are
/// processors, because a test waits more than it works. The tests of a file run in one process,
/// since they share what they start.
fn side_by_side() -> Vec<String> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    ["-n", &(processors + 1).to_string(), "--dist", "loadfile"]
        .map(str::to_owned)
        .to_vec()
}

/// Returns the folder with the Node packages of the tests: the official SDK and an MCP server.
fn node_packages(tests: &Path) -> Result<PathBuf> {
    let folder = tests.join("typescript");
    let modules = folder.join("node_modules");
    let lock = folder.join("package-lock.json");
    let installed = modules.join(".package-lock.json");
    let modified = |path: &Path| {
        std::fs::metadata(path)
            .and_then(|metadata| metadata.modified())
            .ok()
    };
    if modified(&installed).is_none() || modified(&installed) < modified(&lock) {
        eprintln!("Fetching the tests' Node packages …");
        process::run(Command::new("npm").current_dir(&folder).args([
            "ci",
            "--no-audit",
            "--no-fund",
        ]))
        .context("Node 20 or later with npm is needed; on Debian: apt-get install nodejs npm")?;
    }
    Ok(modules)
}
