//! Protocols shared by all AWS services.

pub mod event_stream;
pub mod sigv4;
