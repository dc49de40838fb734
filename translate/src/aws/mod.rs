//! What AWS's services have in common, whatever they serve.

pub mod event_stream;
pub mod sigv4;
