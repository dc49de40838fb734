//! The wall clock.

use opentracy_trace::Micros;

/// Returns the time since the epoch.
pub fn now() -> Micros {
    Micros(jiff::Timestamp::now().as_microsecond())
}
