//! Runs the golden tests and shows all differences at once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process;
use crate::workspace::Workspace;

/// The files and folders that the tests write.
const PLACES: [&str; 3] = [
    "translate/fixtures",
    "docs/providers.md",
    "filter-core/fixtures",
];

/// The arguments that select the golden tests of a crate.
const TESTS: [&[&str]; 2] = [
    &[
        "--package",
        "opentracy-translate",
        "--test",
        "golden",
        "--test",
        "providers",
    ],
    &["--package", "opentracy-filter-core", "recorded"],
];

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Prints the differences between the current translation of each fixture and its file. With
/// `accept`, the files are overwritten; otherwise a difference is an error.
pub fn run(workspace: &Workspace, accept: bool) -> Result<()> {
    let before = read_all(&workspace.root)?;
    let outcome = TESTS.iter().try_for_each(|arguments| {
        let mut tests = workspace.cargo();
        tests.env("UPDATE_GOLDEN", "1").args(["test", "--quiet"]);
        process::run(tests.args(*arguments))
    });
    let after = read_all(&workspace.root)?;
    let changed: Vec<&PathBuf> = after
        .iter()
        .filter(|(path, content)| before.get(*path) != Some(content))
        .map(|(path, _)| path)
        .collect();
    let old = workspace.target.join("golden-before");
    for path in &changed {
        fs::write(&old, before.get(*path).map_or(&[][..], Vec::as_slice))?;
        show(&workspace.root, &old, path)?;
    }
    if !accept {
        restore(&workspace.root, &before, &changed)?;
    }
    outcome?;
    eprintln!("{} of {} files differ", changed.len(), after.len());
    if !accept && !changed.is_empty() {
        bail!("`cargo xtask golden --accept` accepts the current output");
    }
    Ok(())
}

fn read_all(root: &Path) -> Result<Files> {
    let mut files = Files::new();
    let mut places: Vec<PathBuf> = PLACES.iter().map(PathBuf::from).collect();
    while let Some(place) = places.pop() {
        let path = root.join(&place);
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                places.push(place.join(entry?.file_name()));
            }
        } else {
            let content = fs::read(&path).with_context(|| place.display().to_string())?;
            files.insert(place, content);
        }
    }
    Ok(files)
}

fn show(root: &Path, old: &Path, path: &Path) -> Result<()> {
    println!("{}", path.display());
    // Its exit status only reports that they differ.
    Command::new("git")
        .current_dir(root)
        .args(["--no-pager", "diff", "--no-index", "--no-prefix"])
        .args([old, path])
        .status()
        .context("git is needed to show the differences")?;
    Ok(())
}

fn restore(root: &Path, before: &Files, changed: &[&PathBuf]) -> Result<()> {
    for path in changed {
        match before.get(*path) {
            Some(content) => fs::write(root.join(path), content)?,
            None => fs::remove_file(root.join(path))?,
        }
    }
    Ok(())
}
