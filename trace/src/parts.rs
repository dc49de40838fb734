//! The structured values of a call's fields.

use serde::{Deserialize, Serialize};

use crate::PicoUsd;

/// The end of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The client got the complete response, which may be an error.
    Completed,
    ClientDisconnected,
    /// The provider broke off after the response had begun.
    UpstreamBrokeOff,
}

impl Outcome {
    pub const ALL: [Self; 3] = [
        Self::Completed,
        Self::ClientDisconnected,
        Self::UpstreamBrokeOff,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::ClientDisconnected => "client_disconnected",
            Self::UpstreamBrokeOff => "upstream_broke_off",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TraceError {
    pub r#type: String,
    pub code: Option<String>,
    pub message: String,
}

/// Token counts. Cached tokens are part of `input`, reasoning tokens part of `output`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Tokens {
    pub input: u64,
    pub output: u64,
    #[serde(default)]
    pub cache_read: u64,
    #[serde(default)]
    pub cache_write: u64,
    #[serde(default)]
    pub reasoning: u64,
}

/// The parts of a call's cost. Cached tokens are not part of `input`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    pub input: PicoUsd,
    pub output: PicoUsd,
    pub cache_read: PicoUsd,
    pub cache_write: PicoUsd,
    pub total: PicoUsd,
}

/// The routing decision of the control plane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Decision {
    /// `decided`, `cached` or `explored`, or the reason why the alias's default was used.
    pub outcome: String,
    /// The version of the router's pack; `null` if there was no pack.
    pub pack: Option<String>,
    /// Expected error plus the weighted cost and latency.
    pub score: Option<f64>,
    pub cost_weight: Option<f64>,
    /// 0 if the embedding was cached.
    pub embedding_ms: f64,
    /// Human-readable.
    pub reason: String,
}
