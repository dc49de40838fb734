//! The dynamic linker's table of symbols.

#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_void};

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// The handle of the program and of the libraries that it was linked with.
const PROGRAM: *mut c_void = std::ptr::null_mut();

/// Returns the address of a function that the program exports; null if it has none.
pub fn address_of(name: &str) -> *mut c_void {
    match CString::new(name) {
        // SAFETY: the name ends with a null byte.
        Ok(name) => unsafe { dlsym(PROGRAM, name.as_ptr()) },
        Err(_) => std::ptr::null_mut(),
    }
}
