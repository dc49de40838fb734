//! The gRPC contract between the filter and the control plane.
//!
//! Message types are always available; tonic clients and servers need the `grpc` feature, which
//! does not build for wasm.

#![allow(clippy::doc_markdown)]

pub mod bucket;
pub mod constants;
pub mod limit_kinds;

/// Version 1 of the contract.
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/opentracy.v1.rs"));
}
