//! Values in the data that all VMs of an Envoy share, as JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host::Host;

/// The maximum number of tries for an update that conflicts with another VM's.
const TRIES: usize = 4;

/// Reads a value, or returns the default.
pub fn read<T: Default + DeserializeOwned>(host: &impl Host, key: &str) -> T {
    read_versioned(host, key).0
}

/// Updates a value, unless `change` returns false. `change` runs again if another VM wrote first.
pub fn change<T: Default + Serialize + DeserializeOwned>(
    host: &impl Host,
    key: &str,
    mut change: impl FnMut(&mut T) -> bool,
) {
    for _ in 0..TRIES {
        let (mut value, version) = read_versioned(host, key);
        if !change(&mut value) {
            return;
        }
        let bytes = serde_json::to_vec(&value).unwrap_or_default();
        if host.set_shared_data(key, Some(&bytes), version) {
            return;
        }
    }
}

fn read_versioned<T: Default + DeserializeOwned>(host: &impl Host, key: &str) -> (T, Option<u32>) {
    match host.shared_data(key) {
        Some(entry) => (
            serde_json::from_slice(&entry.bytes).unwrap_or_default(),
            Some(entry.version),
        ),
        None => (T::default(), None),
    }
}
