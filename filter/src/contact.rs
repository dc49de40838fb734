//! The control plane as this VM knows it: the time of its last answer, and the status in it.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use opentracy_proto::v1;

/// A control plane that has not answered for so long is unreachable: five polls.
pub const UNREACHABLE_AFTER: Duration = Duration::from_secs(5);

thread_local! {
    /// The time of the last answer; before the first one, the start of this VM.
    static LAST_ANSWER: Cell<Instant> = Cell::new(Instant::now());
    static STATUS: RefCell<Option<v1::ControlPlaneStatus>> = const { RefCell::new(None) };
}

/// Starts the clock. A VM that takes the place of another has its configuration before the control plane answers.
pub fn begin() {
    LAST_ANSWER.with(|_| ());
}

/// Notes an answer to a poll.
pub fn answered(status: Option<v1::ControlPlaneStatus>) {
    LAST_ANSWER.set(Instant::now());
    if let Some(status) = status {
        STATUS.set(Some(status));
    }
}

/// Returns how long ago the control plane last answered.
pub fn silence() -> Duration {
    LAST_ANSWER.get().elapsed()
}

/// Returns what the control plane last said of itself; `None` until it has answered this VM.
pub fn status() -> Option<v1::ControlPlaneStatus> {
    STATUS.with_borrow(Clone::clone)
}
