//! `limits`, and those of a key, an alias or a model.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;
use utoipa::ToSchema;

/// How much there may be of something. What is not set has no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub requests_per_minute: Option<u64>,
    /// Estimated when a request comes, corrected by what the provider counted.
    pub tokens_per_minute: Option<u64>,
    pub concurrent_requests: Option<u64>,
}

/// What goes for all limits.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsPolicy {
    /// By `provider/model`.
    pub models: BTreeMap<String, Spanned<Limits>>,
    pub without_control_plane: WithoutControlPlane,
    /// An answer about a limit is not waited for longer.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
}

/// What becomes of requests with a limit while the control plane does not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutControlPlane {
    /// Each of Envoy's workers lets its share through.
    #[default]
    Share,
    /// A 503.
    Refuse,
}

impl Default for LimitsPolicy {
    fn default() -> Self {
        Self {
            models: BTreeMap::new(),
            without_control_plane: WithoutControlPlane::default(),
            deadline: Duration::from_millis(500),
        }
    }
}
