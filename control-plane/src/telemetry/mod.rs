//! What the outside is told of calls: figures for Prometheus, spans for OpenTelemetry, a page for people.

pub mod envoy;
pub mod live;
pub mod metrics;
pub mod otlp;
