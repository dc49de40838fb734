//! The Python environment with the packages of the tests, including the official SDKs.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use opentracy_translate::hash::fnv1a;

use crate::process;
use crate::workspace::Workspace;

/// Returns a command that runs a program of the environment.
pub fn command(workspace: &Workspace, program: &str) -> Result<Command> {
    Ok(Command::new(bin(workspace)?.join(program)))
}

/// Returns the folder of the programs; installs the packages first if necessary.
fn bin(workspace: &Workspace) -> Result<PathBuf> {
    let requirements = workspace.root.join("tests/requirements.txt");
    let wanted = std::fs::read_to_string(&requirements)?;
    // The name contains a hash of the list, so that a changed list creates another environment.
    let name = format!("python-{:032x}", fnv1a(wanted.as_bytes()));
    let folder = workspace.cached(&name, |folder| {
        eprintln!("Fetching the tests' Python packages …");
        process::run(Command::new("python3").args(["-m", "venv"]).arg(folder)).context(
            "Python 3 with its `venv` module is needed; on Debian: apt-get install python3-venv",
        )?;
        process::run(
            Command::new(folder.join("bin/python"))
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "--requirement",
                ])
                .arg(&requirements),
        )
    })?;
    Ok(folder.join("bin"))
}
