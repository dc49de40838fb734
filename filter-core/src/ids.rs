//! Ids that the filter generates.

use std::cell::RefCell;

use uuid::{Builder, Uuid};

use crate::host::Host;
use crate::vm::vm_local;

vm_local! {
    static VM: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Returns a new id, which sorts by its time (UUID, version 7).
pub fn new(host: &impl Host) -> Uuid {
    let [random @ .., _, _, _, _, _, _] = host.random();
    Builder::from_unix_timestamp_millis(host.unix_millis(), &random).into_uuid()
}

/// Returns this VM's random name, which stays the same for the VM's lifetime.
pub fn of_vm(host: &impl Host) -> String {
    VM.with_borrow_mut(|name| {
        name.get_or_insert_with(|| {
            Builder::from_random_bytes(host.random())
                .into_uuid()
                .to_string()
        })
        .clone()
    })
}
