//! Conversions between Envoy's buffers and slices.

#![allow(unsafe_code)]

use crate::abi::{EnvoyBuffer, ModuleBuffer, ModuleHeader};

/// No value: removes a header, for example.
pub const NOTHING: ModuleBuffer = ModuleBuffer {
    data: std::ptr::null(),
    length: 0,
};

/// Returns bytes as Envoy reads them. The result isn't tied to the bytes, so it is made where it is
/// passed on.
pub fn to_envoy(bytes: &[u8]) -> ModuleBuffer {
    ModuleBuffer {
        data: bytes.as_ptr(),
        length: bytes.len(),
    }
}

/// Returns a header as Envoy reads it, like [`to_envoy`].
pub fn header_to_envoy(name: &str, value: &[u8]) -> ModuleHeader {
    ModuleHeader {
        name: name.as_ptr(),
        name_length: name.len(),
        value: value.as_ptr(),
        value_length: value.len(),
    }
}

/// Returns Envoy's bytes.
///
/// # Safety
///
/// `data` points to `length` bytes that don't change while `'a` lasts, or `length` is 0.
pub unsafe fn bytes<'a>(data: *const u8, length: usize) -> &'a [u8] {
    if length == 0 || data.is_null() {
        return &[];
    }
    // SAFETY: the caller vouches for the memory.
    unsafe { std::slice::from_raw_parts(data, length) }
}

/// Copies bytes out of Envoy's pieces, from an offset on.
///
/// # Safety
///
/// Each piece is as for [`bytes()`].
pub unsafe fn copy(pieces: &[EnvoyBuffer], start: usize, into: &mut Vec<u8>) {
    let mut skipped = start;
    for piece in pieces {
        // SAFETY: the caller vouches for the pieces.
        let piece = unsafe { bytes(piece.data, piece.length) };
        match piece.get(skipped..) {
            Some(rest) => {
                into.extend_from_slice(rest);
                skipped = 0;
            }
            None => skipped -= piece.len(),
        }
    }
}
