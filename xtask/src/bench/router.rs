//! `cargo xtask bench router`: runs the benchmark of the router's service with the embedding
//! model.

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{embedder, process};

pub fn run(workspace: &Workspace) -> Result<()> {
    let mut bench = workspace.cargo();
    bench
        .args([
            "bench",
            "--quiet",
            "--package",
            "opentracy-routing",
            "--bench",
            "router",
        ])
        .env("OPENTRACY_EMBEDDER", embedder::find(workspace)?);
    process::run(&mut bench)
}
