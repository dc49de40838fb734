//! The servers of the control plane: [`rest`] for people and applications, [`grpc`] for the filter.

pub mod connections;
pub mod grpc;
pub mod rest;
