//! Checks that every change must pass, apart from the tests.

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{lint_words, process, python};

pub fn run(workspace: &Workspace) -> Result<()> {
    let cargo = |arguments: &[&str]| {
        let mut cargo = workspace.cargo();
        cargo.args(arguments);
        cargo
    };
    process::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    lint_words::run(workspace)?;
    let mut ruff = python::command(workspace, "ruff")?;
    process::run(
        ruff.current_dir(&workspace.root)
            .args(["format", "--check"]),
    )?;
    let mut typos = python::command(workspace, "typos")?;
    process::run(typos.current_dir(&workspace.root))?;
    process::run(&mut cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--",
        "--deny",
        "warnings",
    ]))?;
    let mut doc = cargo(&[
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ]);
    process::run(doc.env("RUSTDOCFLAGS", "--deny warnings"))?;
    if process::output(&mut cargo(&["deny", "--version"])).is_err() {
        process::run(&mut cargo(&[
            "install",
            "--quiet",
            "--locked",
            "cargo-deny",
        ]))?;
    }
    process::run(&mut cargo(&[
        "deny", "check", "licenses", "bans", "sources",
    ]))
}
