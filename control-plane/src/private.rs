//! Files for their owner only, and what can't be guessed.

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// Refuses a file that others may read.
pub fn ensure(path: &Path) -> anyhow::Result<()> {
    let mode = std::fs::metadata(path)?.permissions().mode();
    ensure!(
        mode & 0o077 == 0,
        "{} can be read by others; `chmod 600` it",
        path.display()
    );
    Ok(())
}

pub fn write(path: &Path, bytes: &[u8], may_exist: bool) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).mode(0o600);
    if may_exist {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let mut file = options
        .open(path)
        .with_context(|| format!("{} can't be written", path.display()))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(())
}

/// Puts a whole file in an old one's place, so that no crash leaves half of one.
pub fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let draft = path.with_extension("new");
    write(&draft, bytes, true)?;
    std::fs::rename(&draft, path).with_context(|| format!("{} can't be written", path.display()))
}

/// What the control plane and the filter know each other's requests by: the same for all that share a state folder or a master key.
pub fn internal_token(state: &Path) -> anyhow::Result<String> {
    if let Ok(master) = std::env::var(crate::secrets::MASTER_KEY) {
        let digest = Sha256::digest(format!("opentracy internal token {master}"));
        return Ok(URL_SAFE_NO_PAD.encode(digest));
    }
    let path = state.join("internal.token");
    if !path.exists() {
        std::fs::create_dir_all(state)?;
        let token: [u8; 32] = random()?;
        write(&path, URL_SAFE_NO_PAD.encode(token).as_bytes(), true)?;
    }
    ensure(&path)?;
    std::fs::read_to_string(&path).with_context(|| format!("{} can't be read", path.display()))
}

pub fn random<const LENGTH: usize>() -> anyhow::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    if filled != LENGTH {
        bail!("the system gave too few random bytes");
    }
    Ok(bytes)
}
