//! Lets the unit tests link: only Envoy has the functions that the module calls.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg=-Wl,--unresolved-symbols=ignore-all");
}
