//! Health, metrics, statistics and profiles, for operators.

mod analytics;
mod envoy_stats;
mod health;
mod pprof;
mod telemetry;

use opentracy_rest::endpoints::Endpoints;

/// All endpoints; each file registers its own.
pub const ENDPOINTS: &[fn() -> Endpoints] = &[
    health::endpoints,
    telemetry::endpoints,
    analytics::endpoints,
    pprof::endpoints,
];
