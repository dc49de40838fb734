//! Exports of call data: Prometheus metrics, OpenTelemetry spans, and live statistics of models.

pub mod envoy;
#[path = "../../ingest/src/live.rs"]
pub mod live;
pub mod metrics;
pub mod otlp;
