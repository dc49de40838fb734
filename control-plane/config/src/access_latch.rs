//! Records that a key or a token has existed, so that access stays closed after the last is
//! deleted.
//!
//! The latch is an empty file beside the keys and another beside the trace database, so that it
//! survives the loss of either folder. Only `access.required: false` in the configuration overrides
//! it.

use std::path::{Path, PathBuf};

use opentracy_base::secure_fs;

/// Name of the file.
const FILE: &str = "access.closed";

#[derive(Debug, Clone)]
pub struct AccessLatch {
    files: Vec<PathBuf>,
}

impl AccessLatch {
    /// Returns the latch of a state folder and a store.
    pub fn of(state: &Path, store: &crate::StoreConfig) -> Self {
        let mut files = vec![state.join(FILE)];
        if store.clickhouse.is_none() {
            let mut beside = store.path().into_os_string();
            beside.push(".access-closed");
            files.push(beside.into());
        }
        Self { files }
    }

    /// Returns the latch of a state folder alone, for commands that have no store.
    pub fn of_state(state: &Path) -> Self {
        Self {
            files: vec![state.join(FILE)],
        }
    }

    /// Returns `true` if a key or a token has existed, or if that can't be determined.
    pub fn is_set(&self) -> bool {
        let is_there = |file: &PathBuf| !matches!(file.try_exists(), Ok(false));
        self.files.iter().any(is_there)
    }

    /// Creates the file in each folder that lacks it.
    pub fn set(&self) -> anyhow::Result<()> {
        for file in &self.files {
            if matches!(file.try_exists(), Ok(true)) {
                continue;
            }
            if let Some(folder) = file.parent() {
                secure_fs::create_dir(folder)?;
            }
            secure_fs::write(file, b"", true)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_stays_set_where_one_of_its_files_is_deleted() {
        let (state, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = crate::StoreConfig {
            path: Some(data.path().join("traces.db")),
            ..crate::StoreConfig::default()
        };
        let latch = AccessLatch::of(state.path(), &store);
        assert!(!latch.is_set());
        latch.set().unwrap();
        for file in &latch.files {
            let mode = std::fs::metadata(file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            std::fs::remove_file(file).unwrap();
            assert!(latch.is_set(), "{}", file.display());
            latch.set().unwrap();
        }
        for file in &latch.files {
            std::fs::remove_file(file).unwrap();
        }
        assert!(!latch.is_set());
    }
}
