//! Builds the filter.
//!
//! The standard library for WASI comes from rustup. If rustup can't install it, Debian's packages
//! are used: a second compiler in `/usr/bin` with the source of its library, a linker and a WASI C
//! library.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::process;
use crate::workspace::Workspace;

const TARGET: &str = "wasm32-wasip1";
const DEBIAN_PACKAGES: [&str; 5] = [
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "lld-19",
    "wasi-libc",
];

enum Toolchain {
    /// The current one, which has the target.
    Own,
    Debian,
}

/// Builds the filter with these features and returns its path.
pub fn build(workspace: &Workspace, features: &[&str]) -> Result<PathBuf> {
    let toolchain = find_toolchain()?;
    let mut folder = workspace.target.join("filter");
    for feature in features {
        // Each variant has a separate folder, so that none is mistaken for another.
        folder = folder.join(feature);
    }
    let mut build = match toolchain {
        Toolchain::Own => workspace.cargo(),
        Toolchain::Debian => debian_cargo(workspace)?,
    };
    build.args([
        "build",
        "--package",
        "opentracy-filter",
        "--profile",
        "wasm",
        "--target",
        TARGET,
    ]);
    build.args(features.iter().flat_map(|feature| ["--features", feature]));
    process::run(build.arg("--target-dir").arg(&folder))?;
    Ok(folder.join(TARGET).join("wasm/opentracy_filter.wasm"))
}

fn find_toolchain() -> Result<Toolchain> {
    if is_installed() {
        return Ok(Toolchain::Own);
    }
    eprintln!("Adding the Rust target {TARGET} …");
    let added = Command::new("rustup")
        .args(["target", "add", TARGET])
        .stdin(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if added && is_installed() {
        return Ok(Toolchain::Own);
    }
    if !has_debian_toolchain() {
        install_debian_toolchain()?;
    }
    Ok(Toolchain::Debian)
}

/// Returns true if the current toolchain has the standard library for the target.
fn is_installed() -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    process::output(Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]))
        .is_ok_and(|folder| Path::new(folder.trim()).exists())
}

fn has_debian_toolchain() -> bool {
    [
        "/usr/bin/rustc",
        "/usr/bin/cargo",
        "/usr/bin/wasm-ld-19",
        "/usr/lib/wasm32-wasi/libc.a",
    ]
    .iter()
    .all(|path| Path::new(path).exists())
}

fn install_debian_toolchain() -> Result<()> {
    eprintln!("rustup has no {TARGET}; installing Debian's packages for it …");
    let advice = format!(
        "install the Rust target by `rustup target add {TARGET}`, or Debian's packages {}",
        DEBIAN_PACKAGES.join(", ")
    );
    for arguments in [
        &["update"][..],
        &["install", "--yes", "--no-install-recommends"],
    ] {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-q", "-q"])
            .args(arguments);
        if arguments.len() > 1 {
            apt.args(DEBIAN_PACKAGES);
        }
        process::run(apt.stdin(Stdio::null())).with_context(|| advice.clone())?;
    }
    if !has_debian_toolchain() {
        bail!("the Debian packages lack some of the expected files: {advice}");
    }
    Ok(())
}

/// Returns Debian's cargo, set up to build the standard library along with the filter.
fn debian_cargo(workspace: &Workspace) -> Result<Command> {
    let path = env::var_os("PATH").unwrap_or_default();
    let path =
        env::join_paths(std::iter::once(PathBuf::from("/usr/bin")).chain(env::split_paths(&path)))?;
    let mut cargo = Command::new("/usr/bin/cargo");
    cargo
        .current_dir(&workspace.root)
        .env("PATH", path)
        .env("RUSTC", "/usr/bin/rustc")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_WASM32_WASIP1_LINKER", "wasm-ld-19")
        .env(
            "RUSTFLAGS",
            // Replaces the flags in `.cargo/config.toml`.
            "-C target-feature=+simd128 -L native=/usr/lib/wasm32-wasi -C link-self-contained=no",
        )
        .env_remove("RUSTUP_TOOLCHAIN")
        .arg("-Zbuild-std=std,panic_abort");
    Ok(cargo)
}
