//! Delivers records to the control plane.

use std::cell::RefCell;
use std::time::Duration;

use opentracy_proto::v1;

use crate::control_plane;
use crate::events;
use crate::faults::FaultKind;
use crate::host::Host;
use crate::metrics;
use crate::outbox::Outbox;
use crate::vm::vm_local;

const CALL_TIMEOUT: Duration = Duration::from_secs(10);

vm_local! {
    static OUTBOX: RefCell<Outbox> = RefCell::default();
}

/// Queues a record for delivery to the control plane.
pub fn record(host: &impl Host, record: v1::IngestRequest) {
    if OUTBOX
        .with_borrow_mut(|outbox| outbox.push(record))
        .is_err()
    {
        metrics::count_dropped(host);
        events::report(
            host,
            FaultKind::TraceDropped,
            None,
            "",
            "the control plane does not accept traces",
        );
    }
}

/// Returns the bytes of records that wait for the control plane.
pub fn waiting_bytes() -> usize {
    OUTBOX.with_borrow(Outbox::bytes)
}

/// Returns whether enough records wait to fill a batch.
pub fn is_full_batch_waiting() -> bool {
    OUTBOX.with_borrow(Outbox::is_full_batch_waiting)
}

/// Sends as many batches as may be in flight.
pub fn send_batches(host: &impl Host) {
    let send = |batch: &[u8]| {
        control_plane::call(
            host,
            "opentracy.v1.TraceService",
            "Ingest",
            batch,
            CALL_TIMEOUT,
        )
    };
    while OUTBOX.with_borrow_mut(|outbox| outbox.send_batch(send)) {}
}

/// Handles the answer to a call. Returns false if the call delivered no records.
pub fn on_answer(call: u32, is_acknowledged: bool) -> bool {
    OUTBOX.with_borrow_mut(|outbox| outbox.on_answer(call, is_acknowledged))
}
