//! Panics that fault tests ask for. A panic is a trap in a wasm VM.

#![allow(clippy::panic)]

use crate::headers::{self, HeaderList};

/// On a client's request: `gateway`, or the numbers of the attempts that are to fail.
const TRAP: &str = "x-opentracy-trap";

/// Panics in the gateway stage if the request says so.
pub fn in_gateway(request: &HeaderList<'_>) {
    if request.get(TRAP) == Some("gateway") {
        panic!("asked for by a test");
    }
}

/// Panics in an attempt of the gateway stage if the client's request says so.
pub fn in_own_attempt(request: &HeaderList<'_>, number: u32) {
    let victims = request.get(TRAP).unwrap_or_default();
    if victims
        .split(',')
        .any(|victim| victim == number.to_string())
    {
        panic!("asked for by a test");
    }
}

/// Panics in an attempt if the request says so.
pub fn in_attempt(request: &HeaderList<'_>) {
    let number = request.get(headers::ATTEMPT_COUNT).unwrap_or("1");
    let victims = request.get(TRAP).unwrap_or_default();
    if victims.split(',').any(|victim| victim == number) {
        panic!("asked for by a test");
    }
}
