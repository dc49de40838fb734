//! The root of the secrets that the control plane and the filter share.

use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::secrets::MASTER_KEY;
use opentracy_base::secure_fs;

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
        // The control plane and `opentracy envoy-config` may start at the same time.
        secure_fs::create_once(&path, URL_SAFE_NO_PAD.encode(token).as_bytes())?;
    }
    secure_fs::ensure(&path)?;
    std::fs::read_to_string(&path).with_context(|| format!("{} can't be read", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_that_start_at_once_have_the_same() {
        for _ in 0..50 {
            let folder = tempfile::tempdir().unwrap();
            let state = folder.path().join("state");
            let tokens: Vec<String> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|_| scope.spawn(|| internal_token(&state).unwrap()))
                    .collect();
                let tokens = threads.into_iter().map(|thread| thread.join().unwrap());
                tokens.collect()
            });
            assert!(tokens.iter().all(|token| token.len() == 43), "{tokens:?}");
            assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
            let files = std::fs::read_dir(&state).unwrap().count();
            assert_eq!(files, 1, "no draft is left");
        }
    }
}
