//! Exports of call data: Prometheus metrics and OpenTelemetry spans, and statistics from Envoy.

pub mod envoy;
pub mod metrics;
pub mod otlp;
