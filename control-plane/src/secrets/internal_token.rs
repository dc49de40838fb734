//! The root of the secrets that the control plane and the filter share.

use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::secrets::{MASTER_KEY, secure_fs};

/// Returns the root of the secrets that the control plane and the filter share: the same for all
/// processes with the same state folder or master key.
pub fn internal_token(state: &Path) -> anyhow::Result<String> {
    if let Ok(master) = std::env::var(MASTER_KEY) {
        let digest = Sha256::digest(format!("opentracy internal token {master}"));
        return Ok(URL_SAFE_NO_PAD.encode(digest));
    }
    let path = state.join("internal.token");
    if !path.exists() {
        secure_fs::create_dir(state)?;
        let token: [u8; 32] = secure_fs::random()?;
        secure_fs::write(&path, URL_SAFE_NO_PAD.encode(token).as_bytes(), true)?;
    }
    secure_fs::ensure(&path)?;
    std::fs::read_to_string(&path).with_context(|| format!("{} can't be read", path.display()))
}
