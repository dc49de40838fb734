//! Exports of call data as OpenTelemetry spans, and statistics from Envoy.

pub mod envoy;
pub mod otlp;
