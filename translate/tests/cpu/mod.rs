//! The CPU time of a thread, which other processes don't change.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Returns the CPU time that `work` takes on this thread.
pub fn time(work: impl FnOnce()) -> Duration {
    let before = now();
    work();
    now().saturating_sub(before)
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap(),
    )
}
