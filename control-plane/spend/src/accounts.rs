//! The units of each limit that VMs hold.

use std::collections::HashMap;

use opentracy_proto::limit_kinds::LimitKind;

/// The units of one limit that VMs hold, in one window or, of concurrent requests, at any time.
#[derive(Default)]
pub struct Account {
    /// The number of the window; 0 for concurrent requests.
    pub window: u64,
    pub by_vm: HashMap<String, Units>,
}

#[derive(Default)]
pub struct Units {
    pub held: u64,
    /// The total that the VM has returned since it started.
    pub released: u64,
}

impl Account {
    pub fn held(&self) -> u64 {
        self.by_vm.values().map(|units| units.held).sum()
    }

    pub fn of(&mut self, vm: &str) -> &mut Units {
        self.by_vm.entry(vm.to_owned()).or_default()
    }

    /// Begins another window, for which nothing has been granted yet.
    pub fn turn(&mut self, window: u64) {
        if self.window != window {
            self.window = window;
            for units in self.by_vm.values_mut() {
                units.held = 0;
            }
        }
    }
}

/// Returns the number of the current window of a kind of limit since the Unix epoch, and the
/// milliseconds that are left of it; zeros for concurrent requests.
pub fn current_window(kind: &LimitKind, now_ms: u64) -> (u64, u64) {
    let Some(window) = kind.window else {
        return (0, 0);
    };
    let length_ms = u64::try_from(window.length.as_millis()).unwrap_or(u64::MAX);
    (now_ms / length_ms, length_ms - now_ms % length_ms)
}
