//! The wall clock.

use crate::store::Micros;

/// Returns the time since the epoch.
pub fn now() -> Micros {
    Micros(jiff::Timestamp::now().as_microsecond())
}
