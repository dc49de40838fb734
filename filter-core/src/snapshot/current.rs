//! The active configuration of this VM.

use std::cell::RefCell;
use std::rc::Rc;

use opentracy_translate::error::ApiError;

use super::index::Snapshot;
use crate::host::Host;
use crate::vm::vm_local;

vm_local! {
    // There is one per VM, and an Envoy worker runs each VM on one thread.
    static CURRENT: RefCell<Option<Rc<Snapshot>>> = const { RefCell::new(None) };
}

/// Returns the active configuration; `None` until the control plane has sent one.
pub fn current() -> Option<Rc<Snapshot>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Returns the error for a request before there is a configuration.
pub fn missing() -> ApiError {
    let message = "The gateway has no configuration yet: its control plane is starting or out of reach. Try again";
    ApiError::new(503, message).with_code("gateway_starting")
}

/// Activates a configuration. Requests in flight keep the one they began with.
pub fn replace(host: &impl Host, mut snapshot: Snapshot) {
    CURRENT.with_borrow_mut(|current| {
        if let Some(old) = current.as_deref() {
            snapshot.retire_providers(old, host.now());
        }
        *current = Some(Rc::new(snapshot));
    });
}
