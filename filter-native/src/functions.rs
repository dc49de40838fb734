//! The functions of Envoy that this module calls, by their addresses.
//!
//! They are looked up when the module starts, and not linked. With linking, the dynamic linker
//! would refuse to load the module in an Envoy that lacks one of them, before the module can say
//! which Envoy it needs.

use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A function of Envoy.
pub struct Function {
    pub name: &'static str,
    /// Null until it is found.
    pub address: &'static AtomicPtr<c_void>,
}

/// Looks up functions. Returns the names of those that are missing.
pub fn look_up(
    functions: &'static [Function],
    address_of: impl Fn(&str) -> *mut c_void,
) -> Vec<&'static str> {
    let mut missing = Vec::new();
    for function in functions {
        let address = address_of(function.name);
        function.address.store(address, Ordering::Relaxed);
        if address.is_null() {
            missing.push(function.name);
        }
    }
    missing
}

/// Declares functions of Envoy as `unsafe extern "C"` does, and lists them in `FUNCTIONS`. A call
/// of one that was not found ends the process.
macro_rules! envoy_functions {
    ($(
        $(#[$attribute:meta])*
        pub fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $(-> $result:ty)?;
    )*) => {
        /// The addresses by the functions' names.
        #[allow(non_upper_case_globals)]
        mod addresses {
            use std::ffi::c_void;
            use std::sync::atomic::AtomicPtr;

            $(pub static $name: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());)*
        }

        /// The functions that this module calls.
        pub static FUNCTIONS: &[$crate::functions::Function] = &[$(
            $crate::functions::Function {
                name: stringify!($name),
                address: &addresses::$name,
            },
        )*];

        $(
            $(#[$attribute])*
            pub unsafe fn $name($($argument: $kind),*) $(-> $result)? {
                type Signature = unsafe extern "C" fn($($kind),*) $(-> $result)?;
                let address = addresses::$name.load(std::sync::atomic::Ordering::Relaxed);
                // SAFETY: the address is null, or that of Envoy's function with this name and so
                // with this signature.
                let function = unsafe {
                    std::mem::transmute::<*mut std::ffi::c_void, Option<Signature>>(address)
                };
                match function {
                    // SAFETY: the caller vouches for the arguments.
                    Some(function) => unsafe { function($($argument),*) },
                    None => std::process::abort(),
                }
            }
        )*
    };
}
pub(crate) use envoy_functions;
