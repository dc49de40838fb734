//! The C library's functions in the versions that every supported system has.
//!
//! A linker binds a function to its newest version on the machine that builds, and a system with an
//! older glibc then refuses the module. glibc 2.34 gave the functions of threads a new version
//! without changing them, and 2.33 replaced the functions below it by `stat64` and `fstat64`. The
//! directives take effect in the optimized build, in which all crates are one object.

#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};

/// The version of what glibc had at first on this architecture.
#[cfg(target_arch = "x86_64")]
macro_rules! first_version {
    () => {
        "GLIBC_2.2.5"
    };
}
#[cfg(target_arch = "aarch64")]
macro_rules! first_version {
    () => {
        "GLIBC_2.17"
    };
}

macro_rules! bind_to_first_version {
    ($($name:literal)*) => {
        std::arch::global_asm!($(
            concat!(".symver ", $name, ",", $name, "@", first_version!())
        ),*);
    };
}

bind_to_first_version! {
    "__fxstat64"
    "__xstat64"
    "dlsym"
    "log2"
    "pthread_attr_setstacksize"
    "pthread_create"
    "pthread_detach"
    "pthread_join"
    "pthread_key_create"
    "pthread_key_delete"
    "pthread_setspecific"
}

#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(".symver pthread_setname_np,pthread_setname_np@GLIBC_2.12");
#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(".symver pthread_setname_np,pthread_setname_np@GLIBC_2.17");

unsafe extern "C" {
    fn __fxstat64(version: c_int, file: c_int, result: *mut c_void) -> c_int;
    fn __xstat64(version: c_int, path: *const c_char, result: *mut c_void) -> c_int;
}

/// The layout of the result that Rust's standard library expects.
#[cfg(target_arch = "x86_64")]
const STAT_VERSION: c_int = 1;
#[cfg(target_arch = "aarch64")]
const STAT_VERSION: c_int = 0;

#[unsafe(no_mangle)]
unsafe extern "C" fn fstat64(file: c_int, result: *mut c_void) -> c_int {
    // SAFETY: the caller vouches for the arguments.
    unsafe { __fxstat64(STAT_VERSION, file, result) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn stat64(path: *const c_char, result: *mut c_void) -> c_int {
    // SAFETY: the caller vouches for the arguments.
    unsafe { __xstat64(STAT_VERSION, path, result) }
}
