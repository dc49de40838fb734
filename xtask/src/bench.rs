//! `cargo xtask bench`: what the gateway costs, as multiples of an Envoy without it.

use std::process::Command;

use anyhow::Result;

use crate::workspace::{Profile, Workspace};
use crate::{envoy, process, test, wasm};

pub fn run(workspace: &Workspace, options: &[String]) -> Result<()> {
    let mut bench = Command::new(test::python(workspace)?);
    bench
        .current_dir(workspace.root.join("tests"))
        .args(["-m", "bench"])
        .args(options)
        .env(
            "OPENTRACY_BIN",
            workspace.build_control_plane(Profile::Release)?,
        )
        .env("OPENTRACY_FILTER", wasm::build(workspace, &[])?)
        .env("OPENTRACY_ENVOY", envoy::find(workspace)?);
    process::run(&mut bench)
}
