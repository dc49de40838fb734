//! The data that all VMs of this Envoy share.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use opentracy_filter_core::host::SharedEntry;

static DATA: LazyLock<Mutex<Shared>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Shared {
    entries: HashMap<String, SharedEntry>,
    last_version: u32,
}

/// Reads an entry.
pub fn get(key: &str) -> Option<SharedEntry> {
    let shared = DATA.lock().unwrap_or_else(PoisonError::into_inner);
    shared.entries.get(key).cloned()
}

/// Writes or removes an entry. With a version, only if the entry still has it. Returns whether it
/// was written.
pub fn set(key: &str, bytes: Option<&[u8]>, version: Option<u32>) -> bool {
    let mut shared = DATA.lock().unwrap_or_else(PoisonError::into_inner);
    shared.set(key, bytes, version)
}

impl Shared {
    fn set(&mut self, key: &str, bytes: Option<&[u8]>, version: Option<u32>) -> bool {
        let current = self.entries.get(key).map(|entry| entry.version);
        if version.is_some() && version != current {
            return false;
        }
        // No version is used twice, so that an entry that was removed and written again differs.
        self.last_version = self.last_version.wrapping_add(1).max(1);
        match bytes {
            Some(bytes) => {
                let entry = SharedEntry {
                    bytes: bytes.to_owned(),
                    version: self.last_version,
                };
                self.entries.insert(key.to_owned(), entry);
            }
            None => {
                self.entries.remove(key);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_with_an_old_version_is_refused() {
        let mut shared = Shared::default();
        assert!(shared.set("k", Some(b"1"), None));
        let version = shared.entries["k"].version;
        assert!(shared.set("k", Some(b"2"), Some(version)));
        assert!(!shared.set("k", Some(b"3"), Some(version)));
        assert_eq!(shared.entries["k"].bytes, b"2");
        assert!(shared.set("k", None, None) && !shared.set("k", Some(b"4"), Some(version)));
    }
}
