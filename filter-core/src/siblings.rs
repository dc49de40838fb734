//! The VMs of this Envoy that serve clients, in the data that they share.
//!
//! The control plane's answers to polls say how many VMs there are. A VM that polled before the
//! others had started learns of them a second later by that way, and at once by this one.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Instant;

use opentracy_proto::constants::POLL_EVERY;

use crate::host::Host;
use crate::ids;
use crate::shared_data;
use crate::vm::vm_local;

/// The shared-data key of the VMs.
const SHARED_VMS: &str = "vms";
/// The number of missed reports after which a VM is gone. Traps end a VM without a word.
const MISSED_REPORTS: u128 = 5;

vm_local! {
    static LAST_REPORT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The VMs by name, with the time of their last report in milliseconds since the Unix epoch.
type Vms = BTreeMap<String, u64>;

/// Reports that this VM is active, as often as it polls.
pub fn on_tick(host: &impl Host) {
    let now = host.now();
    let last = LAST_REPORT.get();
    if last.is_some_and(|last| now.duration_since(last) < POLL_EVERY) {
        return;
    }
    LAST_REPORT.set(Some(now));
    let (name, unix_millis) = (ids::of_vm(host), host.unix_millis());
    shared_data::change(host, SHARED_VMS, |vms: &mut Vms| {
        vms.retain(|_, reported| is_active(*reported, unix_millis));
        vms.insert(name.clone(), unix_millis);
        true
    });
}

/// Returns the number of active VMs, this one included if it has reported.
pub fn count(host: &impl Host) -> u32 {
    let now = host.unix_millis();
    let vms: Vms = shared_data::read(host, SHARED_VMS);
    let active = vms.values().filter(|reported| is_active(**reported, now));
    u32::try_from(active.count()).unwrap_or(u32::MAX)
}

fn is_active(reported: u64, now: u64) -> bool {
    u128::from(now.saturating_sub(reported)) < MISSED_REPORTS * POLL_EVERY.as_millis()
}
