//! The check that this Envoy has the interface that the module was built for.
//!
//! Envoy doesn't give a module its version, and only warns about a module for another version of
//! the interface, although functions may have changed in between. So the functions that it exports
//! are compared with those of the version that this module was built for.

use std::collections::HashSet;
use std::path::Path;
use std::sync::OnceLock;

use crate::{abi, elf, functions, symbol_calls};

/// The Envoy that the module was built for.
const BUILT_FOR: &str = "Envoy 1.40";
const PREFIX: &str = "envoy_dynamic_module_callback_";
/// The functions that Envoy 1.40.0 exports to modules, without their prefix:
/// `nm -D --defined-only envoy | sed -n "s/.* $PREFIX//p" | sort`.
const FUNCTIONS: &str = include_str!("../envoy-1.40.0-callbacks.txt");
/// The program that this process runs.
const PROGRAM: &str = "/proc/self/exe";

static RESULT: OnceLock<Result<(), String>> = OnceLock::new();

/// Looks up the functions that the module calls. Returns an error for the operator if this isn't an
/// Envoy that the module was built for.
///
/// The hooks for configurations check it too: Envoy starts a module only once, and after a refusal
/// takes it as started.
pub fn check() -> Result<(), String> {
    let result = RESULT.get_or_init(|| {
        let missing = functions::look_up(abi::FUNCTIONS, symbol_calls::address_of);
        let exported = elf::exported_names(Path::new(PROGRAM)).unwrap_or_else(|error| {
            log::warn!(
                "could not check that this is not a later version than {BUILT_FOR}: {PROGRAM}: {error}"
            );
            Vec::new()
        });
        compare(&missing, &exported)
    });
    result.clone()
}

fn compare(missing: &[&str], exported: &[String]) -> Result<(), String> {
    let known: HashSet<&str> = FUNCTIONS.lines().collect();
    let exported = exported.iter().filter_map(|name| name.strip_prefix(PREFIX));
    let unknown: Vec<_> = exported.filter(|name| !known.contains(name)).collect();
    let difference = match (missing, unknown.as_slice()) {
        ([], []) => return Ok(()),
        ([], [first, ..]) => format!(
            "is a later one: it has {} functions for modules that {BUILT_FOR} lacks, such as {PREFIX}{first}",
            unknown.len()
        ),
        ([first, ..], _) => format!(
            "is an earlier one: it lacks {} functions that the module calls, such as {first}",
            missing.len()
        ),
    };
    let version = abi::VERSION.to_string_lossy();
    Err(format!(
        "this module was built for {BUILT_FOR} (dynamic modules {version}), and this Envoy {difference}. Use the module for this Envoy, or the filter for wasm: `opentracy envoy-config --filter-kind wasm`"
    ))
}

#[cfg(test)]
mod tests {
    use std::ptr::{null_mut, without_provenance_mut};

    use super::*;

    /// Returns the names that Envoy 1.40.0 exports, and others.
    fn exported_with(others: &[&str]) -> Vec<String> {
        let names = FUNCTIONS.lines().map(|name| format!("{PREFIX}{name}"));
        let others = others.iter().map(|name| (*name).to_owned());
        names.chain(others).collect()
    }

    #[test]
    fn every_function_that_the_module_calls_is_in_the_list() {
        let exported: HashSet<String> = exported_with(&[]).into_iter().collect();
        assert!(abi::FUNCTIONS.len() > 30);
        for function in abi::FUNCTIONS {
            assert!(exported.contains(function.name), "{}", function.name);
        }
    }

    #[test]
    fn the_version_that_it_was_built_for_is_accepted() {
        let exported = exported_with(&["malloc", "other_static_envoy_dynamic_module_on_x"]);
        assert_eq!(compare(&[], &exported), Ok(()));
        // The program's file can't be read.
        assert_eq!(compare(&[], &[]), Ok(()));
    }

    #[test]
    fn a_later_version_is_refused_by_a_function_that_is_new() {
        let exported = exported_with(&["envoy_dynamic_module_callback_new_in_1_41"]);
        let message = compare(&[], &exported).unwrap_err();
        assert!(message.contains("built for Envoy 1.40"), "{message}");
        assert!(message.contains("is a later one"), "{message}");
        assert!(message.contains("callback_new_in_1_41"), "{message}");
        assert!(message.contains("--filter-kind wasm"), "{message}");
    }

    #[test]
    fn an_earlier_version_is_refused_by_a_function_that_is_missing() {
        let lacks = "envoy_dynamic_module_callback_cluster_config_resolve_counter_vec";
        let address_of = |name: &str| match name == lacks {
            true => null_mut(),
            false => without_provenance_mut(8),
        };
        static FEW: &[functions::Function] = {
            use std::sync::atomic::AtomicPtr;
            static ADDRESSES: [AtomicPtr<std::ffi::c_void>; 2] =
                [AtomicPtr::new(null_mut()), AtomicPtr::new(null_mut())];
            &[
                functions::Function {
                    name: "envoy_dynamic_module_callback_log",
                    address: &ADDRESSES[0],
                },
                functions::Function {
                    name: "envoy_dynamic_module_callback_cluster_config_resolve_counter_vec",
                    address: &ADDRESSES[1],
                },
            ]
        };
        let missing = functions::look_up(FEW, address_of);
        assert_eq!(missing, [lacks]);
        let message = compare(&missing, &exported_with(&[])).unwrap_err();
        assert!(
            message.contains("is an earlier one: it lacks 1 "),
            "{message}"
        );
        assert!(message.contains(lacks), "{message}");
    }
}
