//! Panics, which must not leave the module: Envoy would abort.

use std::panic::{self, UnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Runs a function. Returns `None` if it panicked.
pub fn catch<R>(function: impl FnOnce() -> R + UnwindSafe) -> Option<R> {
    let result = panic::catch_unwind(function);
    if let Err(payload) = result {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // The payload's destructor may panic too.
        std::mem::forget(payload);
        return None;
    }
    result.ok()
}

/// Returns the panics since the last call.
pub fn take_count() -> u64 {
    COUNT.swap(0, Ordering::Relaxed)
}

/// Makes panics log their place. The message may contain a part of a prompt, so it isn't logged.
pub fn log_places() {
    panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map_or_else(String::new, ToString::to_string);
        log::error!("event=gateway_panicked place={place}");
    }));
}
